"""How fast, at which cost: the real stack under a load, every figure with its CPU time. See docs/design/performance.md.

    make bench ARGS="--scenario throughput --scenario latency --json FILE"

`scenarios/` has a module for each; `measure.py` is what they share; `load/` are the generator and the receiver;
`floor/` is the least that any such service has to do.
"""
