"""Shared helpers of tests, benchmarks, and the local stack: stacks, stores, receivers, and waiting without sleeping."""
