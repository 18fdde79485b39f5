"""The chart's tests. They need what scripts/chart-test.sh sets up, so that a plain run of all tests leaves them out."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("kubernetes_validate") else ["test_*.py"]
