"""Experiments: plan, run, resume, extend, confirm and repair a search."""
