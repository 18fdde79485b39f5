"""What ends a benchmark."""


class BenchmarkError(Exception):
    """A benchmark cannot go on; the message is one line for the user."""
