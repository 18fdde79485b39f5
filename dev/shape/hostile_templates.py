"""Templates that try to take all time and memory, from pieces that each do."""

import random
from collections.abc import Iterator

from services.domain.templates.template import MAX_SOURCE_BYTES

# Values that are large, or take long to make. X is another value, N a number.
_VALUES = """
"x" * N; [1] * N; 'x' * N; range(10000); range(10000)|list; event.data.list * N; event.data.text * N
X ~ X; X + X; X * N; N ** N; [X, X]; {'a': X, 'b': X}; -N; not X; X in X; X == X; X < X; X[1:]; X[::-1]; X if X else X
X|join('y' * N); X|replace('', 'z' * N); X|replace('a', 'bb' * N); X|indent(N); X|tojson; X|tojson(indent=N)
X|batch(N, 1)|list; X|slice(N)|list; X|list; X|upper; X|lower; X|title; X|capitalize; X|sort; X|unique|list; X|reverse
X|split('a'); X|lines; X|string; X|length; X|urlencode; X|escape; X|sum; X|map('upper')|list; X|select|list
X|groupby('a'); X|dictsort; X|items|list; X|trim; X|striptags; X|truncate(N); X|format(X); '%Nd'|format(1)
'%.Nf'|format(1.5); X|max; X|min; X|zip(X)|list; X|chain(X)|list; X|first; X|last; X|int; X|float; X|round(N)
X|default(X); X|abs; X|bool; X|safe; X|filesizeformat; X|attr('a'); X|wordwrap; X is startingwith X
dict(a=X); namespace(a=X); event.data.text; event.data.list; event.data; event; secrets
"""
_NUMBERS = ("2", "64", "1000", "100000", "10000000", "1000000000", "100000000000", f"{2**127 - 1}")
_OUTER, _INNER = "{% for i in range(10000) %}", "{% for j in range(10000) %}"
_STATEMENTS = (
    "{% for i in V %}B{% endfor %}",
    _OUTER + "B{% endfor %}",
    "{% if V %}B{% else %}B{% endif %}",
    "{% set v = V %}B",
    "{{ V }}B",
    "{% for a, b in V|items %}B{% endfor %}",
    "{% set n = namespace(v=V) %}" + _OUTER + "{% set n.v = n.v ~ n.v %}{% endfor %}{{ n.v }}",
    "{% set n = namespace(v=[V]) %}" + _OUTER + "{% set n.v = [n.v, n.v] %}{% endfor %}{{ n.v }}",
    _OUTER + _INNER + "{{ V }}{% endfor %}{% endfor %}",
    "{% set v = 'xxxxxxxx' %}{% set v = v ~ v %}{% set v = v ~ v %}{% set v = v ~ v %}{{ v }}B",
    "{% raw %}B{% endraw %}",
    "T",
)
# What no template may have, or is not whole.
_REFUSED = (
    "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(V) }}",
    "{% include 'a' %}",
    "{% import 'a' as a %}",
    "{% extends 'a' %}",
    "{% set v %}{{ V }}{% endset %}",
    "{% for i in V recursive %}{{ loop(i) }}{% endfor %}",
    "{% filter upper %}B{% endfilter %}",
    "{% call V %}{% endcall %}",
    "{% block a %}{{ super() }}{% endblock %}",
    "{# B",
    "{{ V",
    "{% if V %}",
)
_CONTENT_TYPES = ("application/json", "text/plain", "text/html", "application/x-www-form-urlencoded")
_PARTS = [part for line in _VALUES.strip().splitlines() for part in line.split("; ")]
_LEAVES = ("'abc'", "7", "event.data.text", "event.data.list", "v")
_DEPTH = 2
_REFUSED_SHARE = 0.02


def sources(seed: int) -> Iterator[tuple[str, str]]:
    """Yield hostile sources, each with a content type, without end."""
    chance = random.Random(seed)  # noqa: S311 - the same for a seed
    while True:
        source = "".join(_statement(chance, chance.randint(0, _DEPTH)) for _ in range(chance.choice((1, 1, 2))))
        source *= chance.choice((1, 1, 1, max(1, MAX_SOURCE_BYTES // max(1, len(source)))))
        yield source[:MAX_SOURCE_BYTES], chance.choice(_CONTENT_TYPES)


def _statement(chance: random.Random, depth: int) -> str:
    found = chance.choice(_REFUSED if chance.random() < _REFUSED_SHARE else _STATEMENTS)
    if found == "T":
        return chance.choice(("t" * 1000, '"', "\\", "\n", "{", "☃" * 100))
    while "V" in found:
        found = found.replace("V", _value(chance, chance.randint(0, _DEPTH)), 1)
    while "B" in found:
        found = found.replace("B", _statement(chance, depth - 1) if depth else "b", 1)
    return found


def _value(chance: random.Random, depth: int) -> str:
    found = chance.choice(_PARTS)
    while "X" in found:
        inner = _value(chance, depth - 1) if depth else chance.choice(_LEAVES)
        found = found.replace("X", f"({inner})", 1)
    while "N" in found:
        found = found.replace("N", chance.choice(_NUMBERS), 1)
    return found
