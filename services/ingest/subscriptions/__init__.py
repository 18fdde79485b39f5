"""Subscriptions: the record, its rules, and the service."""
