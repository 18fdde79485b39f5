"""Filters of subscriptions: expressions in CEL on what an event contains."""
