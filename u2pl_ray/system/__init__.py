"""Floor 0: what every floor needs of the operating system: whole files, temporary folders, timers."""
