"""Fault injection on the real stack: python -m dev.chaos --seed 7 --events 20000 --faults 25.

`schedule` decides which kinds of faults happen when, and `faults` injects them into a `stack` in which every connection
passes a proxy. `generator` sends `events`, and `receiver` gets the deliveries. `evidence` is what both recorded and
what the database contains, `verdict` compares the two, and `report` prints it. `run` is one run from start to end;
`scenarios` are runs with fixed faults.
"""
