"""Floor 4: what to try next, what to stop, and everything needed to continue after any interruption."""

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
