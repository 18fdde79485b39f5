"""Stubs of protos/, made by `make generate`."""
