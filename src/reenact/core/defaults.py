"""What is used where nobody chooses."""

DEFAULT_MODEL = "warp"
"""What draws; one of `models.ZOO`."""
