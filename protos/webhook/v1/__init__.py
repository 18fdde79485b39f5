"""Stubs of protos/, made by `make protos`."""
