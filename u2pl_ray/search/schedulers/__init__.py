"""What stops trials early: schedulers by name, successive halving, population-based training."""
