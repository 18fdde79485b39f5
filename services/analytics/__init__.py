"""Analytics: roll-ups of attempts, statistics, and retention."""
