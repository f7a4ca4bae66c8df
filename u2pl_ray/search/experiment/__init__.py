"""Experiments as users know them: planned, run, resumed, extended, confirmed, repaired."""
