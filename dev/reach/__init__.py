"""Proves that webhooks reach any laptop, in any language: `make acceptance-reach`."""
