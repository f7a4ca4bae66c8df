"""The Ray cluster: the connection to it, and how many trials it can run at once."""
