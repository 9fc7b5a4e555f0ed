"""Data, training, recipes, metrics and evaluation (extra `research`)."""
