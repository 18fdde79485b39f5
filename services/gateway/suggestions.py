"""What a client may have meant by a field that is not known."""

import difflib
import re
import typing
from collections.abc import Collection, Sequence

from fastapi.routing import APIRoute
from pydantic import BaseModel

# Comparing takes time that grows with the square of the length.
MAX_LENGTH = 64
CUTOFF = 0.7

_WORDS = re.compile(r"[A-Z]*[a-z0-9]+|[A-Z]+")


def unknown(name: str, known: Collection[str]) -> str:
    """Return what to say about a field that is not one of these."""
    meant = near(name, known)
    return f"is not known here; did you mean {meant}?" if meant else "is not known here"


def near(name: str, known: Collection[str]) -> str | None:
    """Return the known field that is spelled nearly alike, or the only one that has a word in common."""
    words = set(_words(name[:MAX_LENGTH]))
    spelled = {"".join(_words(candidate)): candidate for candidate in known}
    close = difflib.get_close_matches("".join(_words(name[:MAX_LENGTH])), spelled, n=1, cutoff=CUTOFF)
    if close:
        return spelled[close[0]]
    sharing = [candidate for candidate in known if words.intersection(_words(candidate))]
    return sharing[0] if len(sharing) == 1 else None


def _words(name: str) -> list[str]:
    """Return the words of a name, whether it is in snake_case, camelCase or kebab-case."""
    return [word.lower() for word in _WORDS.findall(name)]


def fields_at(route: APIRoute, place: str, path: Sequence[str | int]) -> Collection[str]:
    """Return the names that are known at a path within the body or the query of a route."""
    if place == "body":
        found = [route.body_field] if route.body_field is not None else []
    else:
        found = list(route.dependant.query_params)
    models = [model for field in found if (model := _model(field.field_info.annotation)) is not None]
    for part in path:
        inner = [model.model_fields[str(part)] for model in models if str(part) in model.model_fields]
        models = [model for field in inner if (model := _model(field.annotation)) is not None]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _model(annotation: object) -> type[BaseModel] | None:
    """Return the model of an annotation such as `Model` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in typing.get_args(annotation) if (model := _model(part)) is not None), None)
