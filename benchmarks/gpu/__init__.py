"""The GPU day: what a machine without a GPU cannot tell, measured by one command. See `__main__`."""
