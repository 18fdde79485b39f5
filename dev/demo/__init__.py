"""A demo of the main features: python -m dev.demo."""
