"""Fault injection over the real stack: python -m dev.chaos --seed 7 --events 20000 --faults 25.

`schedule` decides which kinds of faults come when, and `faults` causes them in a `stack` where every connection passes
a proxy. `generator` sends events and `receiver` takes the deliveries. `evidence` is what they saw and what the database
holds, and `verdict` compares the two. `run` is one run from start to end; `scenarios` are runs with fixed faults.
"""
