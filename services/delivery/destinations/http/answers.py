"""What receivers answer, read leniently: text, Retry-After, and framing that the strict parser refuses."""

import codecs
import math
import re
from datetime import UTC, datetime

import httptools

# What a receiver's Retry-After says (RFC 9110, 10.2.3).


# RFC 9110, 5.6.7: the preferred form, and the two obsolete ones that must be understood.
_RFC_850 = "%A, %d-%b-%y %H:%M:%S GMT"


_DATES = ("%a, %d %b %Y %H:%M:%S GMT", _RFC_850, "%a %b %d %H:%M:%S %Y")
# A year of two digits further ahead is taken for one of the past century.
_YEARS_AHEAD = 50
# Not in the RFC, and sent all the same: a fraction, as by a limiter that says how many milliseconds are left.
_NUMBER = re.compile(rb"\d+(?:\.\d*)?|\.\d+")


def retry_after_seconds(value: bytes, now: datetime) -> float:
    """Return how long to wait from `now`: whole seconds, a fraction rounded up.

    0 for a moment that has passed, and for what is neither a number nor a date.
    """
    value = value.strip()
    if _NUMBER.fullmatch(value):
        return float(math.ceil(float(value)))
    for form in _DATES:
        try:
            moment = _moment(value.decode("ascii"), form, now)
        except ValueError:
            continue
        return max(0.0, (moment - now).total_seconds())
    return 0.0


def _moment(text: str, form: str, now: datetime) -> datetime:
    moment = datetime.strptime(text, form).replace(tzinfo=UTC)
    if form is _RFC_850:
        year = now.year - now.year % 100 + moment.year % 100
        moment = moment.replace(year=year - 100 if year > now.year + _YEARS_AHEAD else year)
    return moment


# What receivers say, as text that Postgres stores: valid UTF-8 without NUL.


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


# Answers that the strict parser refuses and that every common client reads: lone line feeds, folded or broken headers.
#
# What counts is the status line. The head is written anew, from the few headers that matter, and the parser reads that
# in its place; the connection is closed afterward, so nothing that is misread here can reach another request.


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
    """There is no status line where one must be."""


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
    """Return the length that all values agree on, each of which may be a list, or else that of the first."""
    parts = {part.strip() for part in b",".join(values).split(b",")}
    chosen = parts.pop() if len(parts) == 1 else values[0]
    return int(chosen) if chosen.isdigit() and len(chosen) <= MAX_LENGTH_DIGITS else None
