"""Delivery: look-ups and manual retries, the dispatcher, and the workers."""
