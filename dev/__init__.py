"""Tools for developers, outside of the image: the local stack, demo, chaos, benchmarks, dashboards, test harness."""
