"""What a search can know under noise: a simulator of policies, and a table of real trainings."""
