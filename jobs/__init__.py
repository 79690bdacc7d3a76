"""Command lines and the runs behind them: worklists, workers, records, reports."""
