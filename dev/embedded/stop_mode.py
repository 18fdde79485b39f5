"""The ways in which Postgres stops."""

import enum
import signal


class StopMode(enum.Enum):
    """How Postgres is told to stop; the values are its own signals."""

    # Ends sessions, writes a checkpoint.
    FAST = signal.SIGINT
    # Ends at once, as in a crash of the program; recovers at the next start.
    IMMEDIATE = signal.SIGQUIT
    # Waits for the sessions to end.
    SMART = signal.SIGTERM
