"""Subscriptions: where events go, and which."""
