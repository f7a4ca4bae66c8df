"""What proposes trials: samplers by name, and what of the study each of them is shown."""
