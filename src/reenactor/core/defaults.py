"""What is used where nobody chooses."""

DEFAULT_MODEL = "hybrid"
"""What draws; one of `models.ZOO`."""
