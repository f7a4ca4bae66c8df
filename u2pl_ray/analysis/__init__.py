"""Floor 5: reads a finished or running experiment."""
