"""What decides the shape of events, at full count: make acceptance-shape.

Each module has `run`, which prints what it counted and returns whether all was as it should be. Samples of the same are
among the tests.
"""
