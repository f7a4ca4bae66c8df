"""Floor 2: datasets, splits, transforms, loaders, and the generated set."""
