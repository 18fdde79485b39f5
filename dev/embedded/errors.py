"""What goes wrong with a store on this machine."""


class EmbeddedError(Exception):
    """A store cannot be prepared, started or reached; the message is one line for the user."""
