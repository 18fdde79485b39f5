"""What ends the demo."""


class DemoError(Exception):
    """The demo did not end as it should; the message is one line for its user."""
