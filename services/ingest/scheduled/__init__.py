"""Events that are accepted now and become due later."""
