"""The study: all trials, their reported values and how they ended. It is the state from which a search goes on."""

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
