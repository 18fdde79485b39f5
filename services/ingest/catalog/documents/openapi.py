"""OpenAPI 3.1: an event type is a webhook, a POST request whose body is the payload."""

import re
from typing import Any

import msgspec

from services.domain.catalog.bounds import escaped
from services.ingest.catalog.documents import entries
from services.ingest.catalog.documents.entries import Entry, Found, Object, Parts
from services.ingest.catalog.documents.references import Bundler, RefusedError
from services.platform import errors

VERSION = "3.1.0"
_SUPPORTED = re.compile(r"3\.[12](\.\d+)?")


class Writer(entries.Writer):
    """Writes a document with a webhook for each event type."""

    def document(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "openapi": VERSION,
            "info": {"title": self.title, "version": "1.0.0"},
            "webhooks": {
                one.name: {"post": _operation(one, self._schemas + key)} for key, one in self._written.items()
            },
            "components": {"schemas": self._portable},
        }


def _operation(entry: Entry, schema: str) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": schema}}
    if entry.example:
        content["example"] = msgspec.json.decode(entry.example)
    body: dict[str, Any] = {"required": True, "content": {"application/json": content}}
    made: dict[str, Any] = {"summary": entry.name}
    if entry.description:
        made["description"] = entry.description
    if entry.deprecated:
        made["deprecated"] = True
    if entry.sunset_at is not None:
        made[entries.SUNSET] = entries.written(entry.sunset_at)
    if entry.version_description:
        body = {"description": entry.version_description, **body}
    return {**made, "requestBody": body, "responses": {"2XX": {"description": "The event is received."}}}


def read(source: dict[str, Any]) -> Parts:
    """Yield the event types of a document; InvalidArgument if it has no webhooks."""
    version = source.get("openapi")
    if not isinstance(version, str) or not _SUPPORTED.fullmatch(version):
        raise errors.InvalidArgument.field("document", "must be OpenAPI 3.1: earlier versions have no webhooks")
    webhooks = source.get("webhooks")
    if not isinstance(webhooks, dict):
        raise errors.InvalidArgument.field("document", "must have webhooks, by the names of event types")
    entries.check_count(len(webhooks))
    bundler = Bundler(source)
    for name in webhooks:
        try:
            yield name, _found(source, bundler, name)
        except RefusedError as refused:
            yield name, refused


def _found(source: dict[str, Any], bundler: Bundler, name: str) -> Found:
    place = f"/webhooks/{escaped(name)}"
    item = Object(source, place)
    if "post" not in item.value:
        raise RefusedError(item.pointer, "must have a post operation, whose requestBody is the payload")
    operation = item.inner("post")
    if "requestBody" not in operation.value:
        raise RefusedError(operation.pointer, "must have a requestBody, which is the payload")
    body = operation.inner("requestBody")
    media = _media(body)
    if "schema" not in media.value:
        raise RefusedError(media.pointer, "must have a schema")
    schema = bundler.bundle(f"{media.pointer}/schema")
    summary = operation.text("summary")
    entry = Entry(
        name=name,
        description=operation.text("description") or ("" if summary == name else summary),
        schema=schema.schema,
        example=entries.json_of(_example(media)),
        version_description=body.text("description"),
        deprecated=operation.flag("deprecated"),
        sunset_at=operation.moment(entries.SUNSET),
    )
    return Found(name=name, place=place, entry=entry, schema=schema)


def _media(body: Object) -> Object:
    content = body.inner("content") if "content" in body.value else None
    for kind in content.value if content else ():
        essence = kind.partition(";")[0].strip().lower()
        if content and (essence == "application/json" or essence.endswith("+json")):
            return content.inner(escaped(kind))
    raise RefusedError(body.pointer, "must have content of the type application/json")


def _example(media: Object) -> Any:
    if "example" in media.value:
        return media.value["example"]
    for name in media.value["examples"] if isinstance(media.value.get("examples"), dict) else ():
        return media.inner("examples", escaped(name)).value.get("value")
    return None
