"""Tenants and API keys: made, listed, ended."""
