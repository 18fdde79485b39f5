"""Searches and jobs among very many deliveries: python -m dev.scale --deliveries 10000000.

`rows` makes the deliveries by SQL, `searches` is what is asked of them, and `run` asks it of a running service.
"""
