"""Benchmarks of the real stack under load: every figure comes with its CPU time. See docs/design/performance.md.

    make bench ARGS="--scenario throughput --scenario latency --json FILE"

`scenarios/` has a module for each scenario, `rig.py` is what they share, and `floor/` is the least that any such
service must do. The generator and the receiver are in dev/harness/load.
"""
