"""reenact: face reenactment."""
