"""Comparisons of methods and settings by many trainings: rows x seeds, without Ray, results kept line by line."""
