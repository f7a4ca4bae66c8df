"""Floor 3: W&B; knows reported metrics, not training."""
