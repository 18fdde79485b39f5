"""Fault injection over the real stack: python -m dev.chaos --seed 7 --events 20000 --faults 25.

`schedule` says which of the `kinds` of faults come when, and `faults` brings them about in a `stack` whose connections
all pass a `proxy` (`plan` has the ports and settings); `generator` sends events and `receiver` takes the deliveries,
both keeping everything they see as `records`. At the end `evidence` reads the database, `verdict` compares by means of
`ledger` and `explain`, and `report` says what came out. `run` is one run from start to end, `scenarios` are runs with
fixed faults.
"""
