"""Secrets: encrypted at rest, and the signatures made with them."""
