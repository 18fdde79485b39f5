"""The life of a process: start, background work, logs, metrics, stop."""
