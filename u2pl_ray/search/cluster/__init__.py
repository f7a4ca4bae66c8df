"""The Ray cluster: connecting to it, and how many trials it holds."""
