"""Floor 1: the configuration schema, presets, overrides, and metric names."""
