"""Reads the audit log."""
