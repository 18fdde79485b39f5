"""Tenants: what one may have and do, and its share of what all tenants have together."""
