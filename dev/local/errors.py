"""What ends a stack that cannot go on."""


class StackError(Exception):
    """The stack cannot start or go on; the message is for the user, its first line says it all."""
