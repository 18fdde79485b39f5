"""The chart's tests need what scripts/chart-test.sh sets up; a plain run of all tests skips them."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("kubernetes_validate") else ["*test_*.py"]
