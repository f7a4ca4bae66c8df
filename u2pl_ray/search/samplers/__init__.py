"""Samplers by name, and the trials of the study that each of them is shown."""
