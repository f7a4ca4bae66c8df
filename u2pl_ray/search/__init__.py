"""Floor 4: what to try next, what to stop, and everything needed to continue after any interruption."""
