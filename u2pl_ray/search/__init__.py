"""Floor 4: Ray Tune with Optuna over dotted config paths."""
