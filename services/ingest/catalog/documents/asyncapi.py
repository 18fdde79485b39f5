"""AsyncAPI 3.0: an event type is a message that the service sends over a channel, which is an endpoint."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from services.domain.catalog.bounds import escaped
from services.ingest.catalog.documents import entries
from services.ingest.catalog.documents.entries import Entry, Found, Object, Parts
from services.ingest.catalog.documents.references import Bundler, RefusedError, followed
from services.platform import errors

VERSION = "3.0.0"
_SUPPORTED = re.compile(r"3\.\d+\.\d+")
_MESSAGES = "#/components/messages/"
# What a schema may be written in; others, such as Avro, are no JSON Schema.
_FORMATS = ("application/schema+json", "application/vnd.aai.asyncapi", "application/vnd.oai.openapi;version=3.1")


class Writer(entries.Writer):
    """Writes a document with a message for each event type, all in one channel."""

    def document(self) -> dict[str, Any]:
        """Return the document."""
        channel = {
            "address": None,  # that of each receiver
            "description": "An endpoint that has subscribed to events.",
            "messages": {key: {"$ref": _MESSAGES + key} for key in self._written},
        }
        messages = {key: _message(one, self._schemas + key) for key, one in self._written.items()}
        return {
            "asyncapi": VERSION,
            "info": {"title": self.title, "version": "1.0.0"},
            "channels": {"events": channel},
            "operations": {"send": {"action": "send", "channel": {"$ref": "#/channels/events"}}},
            "components": {"messages": messages, "schemas": self._portable},
        }


def _message(entry: Entry, schema: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": entry.name, "contentType": "application/json"}
    if entry.description:
        made["description"] = entry.description
    if entry.version_description:
        made[entries.VERSION_DESCRIPTION] = entry.version_description
    if entry.deprecated:
        made[entries.DEPRECATED] = True
    if entry.sunset_at is not None:
        made[entries.SUNSET] = entries.written(entry.sunset_at)
    made["payload"] = {"$ref": schema}
    if entry.example:
        made["examples"] = [{"payload": msgspec.json.decode(entry.example)}]
    return made


def read(source: dict[str, Any]) -> Parts:
    """Yield the event types of a document; InvalidArgument if it has no messages."""
    version = source.get("asyncapi")
    if not isinstance(version, str) or not _SUPPORTED.fullmatch(version):
        raise errors.InvalidArgument.field("document", "must be AsyncAPI 3.0")
    if not isinstance(source.get("channels"), dict):
        raise errors.InvalidArgument.field("document", "must have channels, whose messages are event types")
    places = list(_places(source["channels"]))
    entries.check_count(len(places))
    bundler = Bundler(source)
    # A message may be of several channels.
    seen: set[str] = set()
    for key, place in places:
        try:
            pointer, _ = followed(source, place, "summary", "description")
            if pointer in seen:
                continue
            seen.add(pointer)
            found = _found(Object(source, place), bundler, key)
            yield found.name, found
        except RefusedError as refused:
            yield key, refused


def _places(channels: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, channel in channels.items():
        messages = channel.get("messages") if isinstance(channel, dict) else None
        for key in messages if isinstance(messages, dict) else ():
            yield key, f"/channels/{escaped(name)}/messages/{escaped(key)}"


def _found(message: Object, bundler: Bundler, key: str) -> Found:
    if "payload" not in message.value:
        raise RefusedError(message.pointer, "must have a payload")
    schema = bundler.bundle(_schema_place(message))
    name = message.text("name") or key
    entry = Entry(
        name=name,
        description=message.text("description") or message.text("summary"),
        schema=schema.schema,
        example=entries.json_of(_example(message)),
        version_description=message.text(entries.VERSION_DESCRIPTION),
        deprecated=message.flag(entries.DEPRECATED),
        sunset_at=message.moment(entries.SUNSET),
    )
    return Found(name=name, place=message.pointer, entry=entry, schema=schema)


def _schema_place(message: Object) -> str:
    place = f"{message.pointer}/payload"
    payload = message.value["payload"]
    if not isinstance(payload, dict) or "schemaFormat" not in payload:
        return place
    form = payload["schemaFormat"]
    if not isinstance(form, str) or not form.replace(" ", "").startswith(_FORMATS):
        raise RefusedError(f"{place}/schemaFormat", f"must be JSON Schema, such as {_FORMATS[0]};version=2020-12")
    if "schema" not in payload:
        raise RefusedError(place, "must have a schema")
    return f"{place}/schema"


def _example(message: Object) -> Any:
    examples = message.value.get("examples")
    for one in examples if isinstance(examples, list) else ():
        if isinstance(one, dict) and "payload" in one:
            return one["payload"]
    return None
