"""What receivers say, as text that Postgres stores: valid UTF-8 without NUL."""

import codecs

MESSAGE_CHARACTERS = 500
_decoder = codecs.getincrementaldecoder("utf-8")


def of_body(body: bytes, limit_bytes: int) -> str:
    """The beginning, in at most so many bytes of UTF-8: undecodable bytes and NUL become U+FFFD, of three bytes each.

    A character that the limit cuts is left out.
    """
    decoded = _decoder("replace").decode(body[:limit_bytes], final=len(body) <= limit_bytes)
    text = decoded.replace("\x00", "\ufffd")
    return text.encode()[:limit_bytes].decode(errors="ignore") if "\ufffd" in text else text


def of_message(message: str) -> str:
    """An error message, which may quote what a receiver sent."""
    return message[:MESSAGE_CHARACTERS].encode(errors="replace").decode().replace("\x00", "\ufffd")


def of_header(value: bytes, limit_characters: int) -> str:
    """A header's value on one line: what is not printable is escaped, and what is beyond the limit cut."""
    decoded = value.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)
    return shown if len(shown) <= limit_characters else shown[:limit_characters] + "…"
