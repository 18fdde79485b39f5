"""Benchmarks of the real stack under load: every figure comes with its CPU time. See docs/operations/benchmarks.md.

    make bench ARGS="--scenario throughput --scenario latency --json FILE"

`scenarios/` has a module for each scenario. `measuring/` measures a load on any system; `rig.py` puts our stack between
the ends of a load, and `sides.py` whatever is compared in one run: shapes, versions, and the stacks in `peers/`. The
generator and the receiver are in dev/harness/load.
"""
