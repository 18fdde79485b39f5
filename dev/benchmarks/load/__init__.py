"""The two ends of a load, processes of their own, and how the benchmark talks to them."""
