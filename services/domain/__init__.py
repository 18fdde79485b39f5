"""Webhook concepts that several services share. Imports no service."""
