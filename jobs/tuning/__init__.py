"""Hyperparameter studies of `rdo-tune`: search space, trials, Optuna's storage, evaluation on held-out photos."""
