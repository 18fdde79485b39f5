"""The source of a template: what it may consist of, and how values are written into what it makes.

A source is a template of MiniJinja with the statements of STATEMENTS. Each `{{ value }}` is rewritten so that a filter
of ours writes the value as the content type needs it: inside a JSON string its escape without quotes, elsewhere in JSON
the whole value, in HTML and XML its escape, in a form its percent-encoding. Whether a place is inside a JSON string
is read from the text of the source, so it is known, and checked, before anything is rendered.

Nothing here bounds time and memory: only child.py runs it, in a process that ends when it takes too much of them.
"""

import html
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import minijinja
import msgspec

from services.domain.templates import template
from services.domain.templates.template import Rendered, TemplateFailed

# Of MiniJinja's instructions, and of the bytes that they make.
FUEL = 100_000
# Sources that are kept compiled.
COMPILED = 128
STATEMENTS = ("if", "elif", "else", "endif", "for", "endfor", "set", "raw", "endraw")
_EXPECTED = "use if, for, set, and raw"
_TAG = re.compile(r"\{\{|\{%|\{#")
_WORD = re.compile(r"[a-zA-Z_]\w*")
_SET = re.compile(r"set\s+[\w.,\s()]+?=(?!=)")
_RECURSIVE = re.compile(r"\brecursive\s*$")
_END_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
# A backslash with what it escapes, and quotes. Outside of strings JSON has no backslash.
_MARKS = re.compile(r'\\.?|"', re.DOTALL)
_CLOSERS = {"{{": "}}", "{%": "%}"}
# In a tag: strings, quotes that begin no whole string, and brackets.
_TOKENS = re.compile(r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|['"]|[(\[{]|%\}|[)\]}]""", re.DOTALL)
_OPENING, _CLOSING, _QUOTES = frozenset("([{"), frozenset(")]}"), frozenset("'\"")
_FORM = "application/x-www-form-urlencoded"
_NEAR_CHARACTERS = 30


class Tag(NamedTuple):
    """A part of a source: `{{`, `{%`, or "" for text. `inner` is what a tag has between its marks."""

    kind: str
    line: int
    text: str
    inner: str = ""


# -- reading --


def parts(source: str) -> Iterator[Tag]:
    """Split a source into text, tags and comments."""
    place, line = 0, 1
    while place < len(source):
        found = _TAG.search(source, place)
        start = found.start() if found else len(source)
        if start > place:
            yield Tag("", line, source[place:start])
            line += source.count("\n", place, start)
        if found is None:
            return
        opener = found.group()
        end = _end_of_comment(source, start, line) if opener == "{#" else _end_of_tag(source, start, opener, line)
        text = source[start:end]
        yield Tag(opener, line, text, text[2:-2])
        line += text.count("\n")
        place = end
        if opener == "{%" and _statement(text) == "raw":
            closing = _END_RAW.search(source, place)
            if closing is None:
                raise TemplateFailed("raw is not closed: add {% endraw %}", line)
            if closing.start() > place:
                yield Tag("", line, source[place : closing.start()])
            line += source.count("\n", place, closing.start())
            yield Tag("{%", line, closing.group(), closing.group()[2:-2])
            line += closing.group().count("\n")
            place = closing.end()


def _end_of_comment(source: str, start: int, line: int) -> int:
    end = source.find("#}", start + 2)
    if end < 0:
        raise TemplateFailed("the comment is not closed: add #}", line)
    return end + 2


def _end_of_tag(source: str, start: int, opener: str, line: int) -> int:
    """Return where a tag ends: at its closing marks outside of strings, lists and maps."""
    depth, closer = 0, _CLOSERS[opener]
    for found in _TOKENS.finditer(source, start + 2):
        token = found.group()
        if depth == 0 and source.startswith(closer, found.start()):
            return found.start() + 2
        if token in _QUOTES:
            raise TemplateFailed(f"a string is not closed: add {token}", line)
        depth += (token in _OPENING) - (token in _CLOSING)
    raise TemplateFailed(f"the tag is not closed: add {closer}", line)


def _statement(inner: str) -> str:
    found = _WORD.search(inner)
    return found.group() if found else ""


# -- places in JSON --


@dataclass(slots=True)
class _Place:
    """Where in JSON a source is."""

    in_string: bool = False
    # The last letter is a backslash, which escapes what comes next.
    escaping: bool = False

    def read(self, text: str) -> None:
        """Go on over text."""
        for found in _MARKS.finditer(text):
            if found.group() == '"':
                self.in_string = not self.in_string
            elif self.in_string and found.end() == len(text) and len(found.group()) == 1:
                self.escaping = True


@dataclass(slots=True)
class _Block:
    """An open `if` or `for`: where it began, and whether one of its branches has ended elsewhere."""

    name: str
    line: int
    began: bool
    has_else: bool = False
    ended: bool | None = None

    def end_branch(self, *, in_string: bool) -> None:
        """Note where a branch ends; TemplateFailed when another one ends elsewhere."""
        if self.ended is None:
            self.ended = in_string
        if self.ended is not in_string:
            raise TemplateFailed(
                f"the branches of this {self.name} do not end at the same place: one ends inside a JSON string, the"
                " other outside",
                self.line,
            )


class _Places:
    """Follows a source through its statements. Of what is not JSON every place is the same."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self.place = _Place()
        self._open: list[_Block] = []

    def text(self, text: str) -> None:
        if self._json:
            self.place.read(text)

    def tag(self, tag: Tag) -> None:
        """Check where a tag is."""
        if self.place.escaping:
            raise TemplateFailed("a backslash before a tag would escape what the tag writes: remove it", tag.line)

    def statement(self, name: str, line: int) -> None:
        """Go on over a statement."""
        inside = self.place.in_string
        if name in {"if", "for"}:
            self._open.append(_Block(name=name, line=line, began=inside))
        elif name in {"elif", "else", "endif", "endfor"}:
            if not self._open:
                raise TemplateFailed(f"{name} belongs to no open statement", line)
            block = self._open[-1]
            block.end_branch(in_string=inside)
            if name in {"elif", "else"}:
                block.has_else |= name == "else"
                self.place.in_string = block.began
                return
            if block.name == "for" or not block.has_else:  # it may write nothing
                block.end_branch(in_string=block.began)
            self._open.pop()


# -- rewriting --


def rewritten(source: str, content_type: str) -> str:
    """Return a source with a filter at each value; TemplateFailed with the line for what it may not have."""
    as_json = template.is_json(content_type)
    plain = _filter_of(content_type)
    places = _Places(json=as_json)
    made = []
    for tag in parts(source):
        if tag.kind == "":
            places.text(tag.text)
            made.append(tag.text)
            continue
        if tag.kind == "{#":
            made.append(tag.text)
            continue
        places.tag(tag)
        if tag.kind == "{%":
            name = _checked(tag)
            places.statement(name, tag.line)
            made.append(tag.text)
            continue
        begin, value, end = _trimmed(tag)
        written = ("__in_json_string" if places.place.in_string else "__json") if as_json else plain
        made.append(f"{{{{{begin} ({value})|{written} {end}}}}}")
    return "".join(made)


def _trimmed(tag: Tag) -> tuple[str, str, str]:
    """Return the marks for white space around a value, and the value."""
    inner = tag.inner
    begin = inner[:1] if inner[:1] in {"-", "+"} else ""
    end = inner[-1:] if len(inner) > 1 and inner[-1:] in {"-", "+"} else ""
    value = inner[len(begin) : len(inner) - len(end)]
    if not value.strip():
        raise TemplateFailed("a value is missing between {{ and }}", tag.line)
    return begin, value, end


def _checked(tag: Tag) -> str:
    """Return the name of a statement; TemplateFailed for one that templates may not have."""
    inner = tag.inner.strip("-+ \t\r\n")
    name = _statement(inner)
    if name not in STATEMENTS:
        raise TemplateFailed(f"{name or 'an empty statement'} cannot be used in a template; {_EXPECTED}", tag.line)
    if name == "set" and not _SET.match(inner):
        raise TemplateFailed("set must have a value, as in {% set total = event.data.total %}", tag.line)
    if name == "for" and _RECURSIVE.search(inner):
        raise TemplateFailed("recursive cannot be used in a template; use a for inside of another", tag.line)
    return name


def _filter_of(content_type: str) -> str:
    media = template.media_type(content_type)
    if media in {"text/html", "text/xml", "application/xml"} or media.endswith("+xml"):
        return "__html"
    return "__form" if media == _FORM else "__plain"


# -- writing values --


def _text(value: Any) -> str:
    """Return a value as text: of a missing one nothing, of a list or a map its JSON."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str) else _encoded(value)


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _json(value: Any) -> minijinja.Markup:
    # What `tojson` made, and what somebody calls `safe`, is JSON already.
    return minijinja.Markup(value if isinstance(value, minijinja.Markup) else _encoded(value))


def _in_json_string(value: Any) -> minijinja.Markup:
    return minijinja.Markup(_encoded(_text(value))[1:-1])


_FILTERS = {
    "__json": _json,
    "__in_json_string": _in_json_string,
    "__html": lambda value: minijinja.Markup(html.escape(_text(value))),
    "__form": lambda value: minijinja.Markup(quote(_text(value), safe="")),
    "__plain": lambda value: minijinja.Markup(_text(value)),
}


def _only_written(value: Any) -> Any:
    """Refuse to write what no filter of ours wrote: this module and MiniJinja then read a source differently."""
    if not isinstance(value, minijinja.Markup):
        raise TypeError("this value cannot be written here")
    return value


# -- rendering --


class Sources:
    """Compiles and renders sources, and keeps those that were used last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], minijinja.Environment] = OrderedDict()

    def check(self, source: str, content_type: str) -> list[str]:
        """Compile a source; return the names of the secrets that it uses. TemplateFailed."""
        environment = self.compiled(source, content_type)
        used = environment.undeclared_variables_in_template(_NAME, nested=True)
        return sorted({name.split(".")[1] for name in used if name.startswith("secrets.")})

    def render(
        self, environment: minijinja.Environment, content_type: str, variables: Mapping[str, Any], payload_bytes: int
    ) -> Rendered:
        """Render these variables; TemplateFailed."""
        try:
            body = environment.render_template(_NAME, **variables).encode()
        except minijinja.TemplateError as error:
            raise _failed(error) from None
        check_output(body, content_type, payload_bytes)
        return Rendered(body=body, content_type=content_type)

    def compiled(self, source: str, content_type: str) -> minijinja.Environment:
        """Compile a source, unless it is kept; TemplateFailed."""
        key = source, content_type
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        environment = minijinja.Environment(
            debug=False,
            fuel=FUEL,
            pycompat=False,
            undefined_behavior="chainable",
            auto_escape_callback=lambda _: None,
            filters=_FILTERS,
            finalizer=_only_written,
            keep_trailing_newline=True,
        )
        for name in ("debug", "lipsum", "cycler", "joiner"):
            environment.remove_global(name)
        environment.remove_filter("pprint")
        try:
            environment.add_template(_NAME, rewritten(source, content_type))
        except minijinja.TemplateError as error:
            raise _failed(error) from None
        self._kept[key] = environment
        if len(self._kept) > COMPILED:
            self._kept.popitem(last=False)
        return environment


_NAME = "template"


def check_output(body: bytes, content_type: str, payload_bytes: int) -> None:
    """Raise TemplateFailed for what cannot be sent: too much, nothing, or what should be JSON and is not."""
    most = template.max_output_bytes(payload_bytes)
    if len(body) > most:
        raise TemplateFailed(f"the output has {len(body)} bytes; it must have at most {most}")
    if not body.strip():
        raise TemplateFailed("the output is empty")
    if not template.is_json(content_type):
        return
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        why, near = _plain(str(error), body)
        raise TemplateFailed(f"the output is not JSON: {why}", near=near) from None
    except RecursionError:
        raise TemplateFailed("the output is not JSON that can be read: it is nested too deeply") from None


_AT_BYTE = re.compile(r"^JSON is malformed: (.*) \(byte (\d+)\)$")


def _plain(message: str, body: bytes) -> tuple[str, str]:
    """Return what is wrong with the output, and the piece of it where that is."""
    found = _AT_BYTE.match(message)
    if found is None:
        return message, ""
    place = int(found.group(2))
    begin = max(0, place - _NEAR_CHARACTERS)
    near = body[begin : place + _NEAR_CHARACTERS].decode(errors="replace")
    return f"{found.group(1)}, on line {body.count(10, 0, place) + 1} of the output", near


def _failed(error: minijinja.TemplateError) -> TemplateFailed:
    if error.kind == "OutOfFuel":
        return TemplateFailed("it takes too many steps: loop over less, or write less", error.line)
    detail = (error.detail or str(error)).split("\n")[0]
    return TemplateFailed(detail, error.line)
