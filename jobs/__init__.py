"""Command lines and the work behind them: which files, by whom, with what record."""
