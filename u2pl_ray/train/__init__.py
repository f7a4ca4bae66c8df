"""Floor 3: the worker loop, with and without Ray Train."""
