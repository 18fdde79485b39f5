"""Processes of tests that are ended by Ctrl-C."""

import signal


def heed_interrupts() -> None:
    """Undo, in a new process, that a shell in the background has its processes ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
