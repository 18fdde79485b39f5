"""Verification of what comes in: whose signature it must carry, and what its sender calls it."""
