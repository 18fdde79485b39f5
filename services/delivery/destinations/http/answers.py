"""Reads answers that the strict parser refuses and common clients accept: lone line feeds, folded or broken headers.

Only the status line decides. The head is rewritten from the few headers that matter, and the parser reads that instead;
the connection is closed afterward, so nothing that is misread here can reach another request.
"""

import re

import httptools

# A status line, as far as it decides. Python's http.client is as lax about the version and the spaces.
_STATUS = re.compile(rb"HTTP/(?:\d(?:\.\d)?|1\.[^\s]{0,64})[ \t\r]+0{0,3}(?P<status>[1-9]\d\d)(?=[ \t\r\n])")
_END = re.compile(rb"\n\r{0,2}\n")
_LONGEST_END = 4
# RFC 9112, 5.2: a line that begins with a space or a tab continues the one before.
_FOLD = re.compile(rb"\r?\n[ \t]+")
_BEGIN = b"HTTP/"
_FIRST_FINAL_STATUS = 200
_SWITCHING_PROTOCOLS = 101
# Of a length that is worth reading as a number.
MAX_LENGTH_DIGITS = 18
# Each is read again with what comes after it.
_MAX_INTERIM_ANSWERS = 100
_PASSED_ON = frozenset({b"retry-after", b"location"})


class NotHttp(ValueError):
    """A status line is missing."""


def parser(protocol: object) -> httptools.HttpResponseParser:
    """Return a parser for a head that was rewritten and the body that follows it."""
    made = httptools.HttpResponseParser(protocol)
    made.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_spaces_after_chunk_size=True,
    )
    return made


def may_end(raw: bytearray, new: int) -> bool:
    """Return whether a head may end within the last `new` bytes."""
    return _END.search(raw, max(0, len(raw) - new - _LONGEST_END)) is not None


def rewrite(raw: bytes, *, ended: bool, skip: bool) -> tuple[bytes, bytes] | None:
    """Return the head of the final answer in strict form and the bytes after it; None while more of it must come.

    `ended` says that the receiver closed the connection after these bytes, `skip` that what precedes a status line is
    ignored: the rest of an earlier answer. NotHttp if there is no status line.
    """
    if ended:
        raw += b"\r\n\r\n"
    for _ in range(_MAX_INTERIM_ANSWERS):
        found = _STATUS.search(raw) if skip else _STATUS.match(raw.lstrip())
        if found is None:
            if ended or not (skip or _may_begin(raw)):
                raise NotHttp
            return None
        raw = found.string
        end = _END.search(raw, found.end())
        if end is None:
            return None
        status = int(found["status"])
        lines = _FOLD.sub(b" ", raw[found.end() : end.start()]).split(b"\n")[1:]
        raw, skip = raw[end.end() :], False
        if status >= _FIRST_FINAL_STATUS or status == _SWITCHING_PROTOCOLS:
            rest = b"" if ended else raw
            return b"HTTP/1.1 %d\r\n%b\r\n" % (status, _headers(lines, rest, ended=ended)), rest
    raise NotHttp


def _may_begin(raw: bytes) -> bool:
    """Whether more bytes can make a status line of it."""
    line = raw.lstrip()
    return b"\n" not in line and line[: len(_BEGIN)] == _BEGIN[: len(line)]


def _headers(lines: list[bytes], rest: bytes, *, ended: bool) -> bytes:
    kept, lengths, codings = b"", [], []
    for line in lines:
        name, _, value = line.partition(b":")
        name, value = name.strip().lower(), value.replace(b"\r", b" ").strip()
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings += [coding.strip().lower() for coding in value.split(b",")]
        elif name in _PASSED_ON:
            kept += b"%b: %b\r\n" % (name, value)
    if ended:
        return kept + b"Content-Length: 0\r\n"
    if codings[-1:] == [b"chunked"]:
        return kept + b"Transfer-Encoding: chunked\r\n"
    if not lengths:
        return kept
    # A length that cannot be read: the body is what came with the head.
    length = _length(lengths)
    return kept + b"Content-Length: %d\r\n" % (len(rest) if length is None else length)


def _length(values: list[bytes]) -> int | None:
    """Return the length that all values (each may be a list) agree on, or else the first one's."""
    parts = {part.strip() for part in b",".join(values).split(b",")}
    chosen = parts.pop() if len(parts) == 1 else values[0]
    return int(chosen) if chosen.isdigit() and len(chosen) <= MAX_LENGTH_DIGITS else None
