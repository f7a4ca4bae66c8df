"""Schedulers, which stop trials early: the registry, successive halving, population-based training."""
