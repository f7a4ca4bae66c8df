"""The study: which trials there are, what they reported, how they ended. Decides what a search does next."""

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
