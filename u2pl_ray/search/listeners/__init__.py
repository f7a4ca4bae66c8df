"""Listeners of a search: the console, Weights & Biases. A listener never changes a result."""
