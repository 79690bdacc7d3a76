"""Optuna studies: what may be searched, how a trial is run, what its best recipe is worth."""
