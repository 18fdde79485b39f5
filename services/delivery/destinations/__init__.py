"""Kinds of destinations that deliveries go to."""
