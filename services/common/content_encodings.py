"""What a payload may be encoded by: passed on as a Content-Encoding header, and never undone here."""

import re

EXPECTED = "must be 1 to 64 characters, such as gzip"
# Tokens, separated by commas (RFC 9110, 8.4).
_LIST = re.compile(r"(?=.{1,64}\Z)[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")


def is_valid(text: str) -> bool:
    """Return whether this can be the value of a Content-Encoding header."""
    return _LIST.fullmatch(text) is not None
