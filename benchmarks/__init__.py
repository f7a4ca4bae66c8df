"""Programs that measure; each says in its docstring how to run it."""
