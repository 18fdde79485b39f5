"""Deliveries that consumers pull."""
