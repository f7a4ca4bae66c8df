"""Those who watch a search: the console, Weights & Biases. Watching never changes a result."""
