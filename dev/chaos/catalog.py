"""The event catalog of the load: types with two versions, and a conversion that changes all the time.

Receivers that are pinned to the older version get what an event was converted to first, whatever the conversion is by
then.
"""

import asyncio
import contextlib
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import aiohttp
import jsonschema_rs
import msgspec

OLD, NEW = 1, 2
_KEY_AND_LOT: Mapping[str, Any] = {"key": {"type": "string"}, "lot": {"type": "integer", "minimum": 0}}
_FILLING: Mapping[str, Any] = {"filling": {"type": "string", "minLength": 1}}
SCHEMAS: Mapping[int, dict[str, Any]] = {
    OLD: {"type": "object", "properties": {**_KEY_AND_LOT, **_FILLING}, "required": ["key", "lot", "filling"]},
    NEW: {
        "type": "object",
        "properties": {
            **_KEY_AND_LOT,
            "content": {"type": "object", "properties": _FILLING, "required": ["filling"]},
        },
        "required": ["key", "lot", "content"],
    },
}
CHANGE_SECONDS = 0.2
TIMEOUT_SECONDS = 5.0
CHANGED = 200


def conversion(number: int) -> str:
    """Return a template that makes a payload of the older version of one of the newer, with a number of its own."""
    return (
        '{"key": {{ event.data.key }}, "lot": {{ event.data.lot }}, "filling": {{ event.data.content.filling }}, '
        f'"conversion": {number}}}'
    )


def is_converted(body: bytes, key: str, lot: int, filling: str) -> bool:
    """Return whether a body is what one of the conversions makes of a payload."""
    begin, end = f'{{"key": "{key}", "lot": {lot}, "filling": "{filling}", "conversion": '.encode(), b"}"
    return body.startswith(begin) and body.endswith(end) and body[len(begin) : -len(end)].isdigit()


def fits(version: int, body: bytes) -> bool:
    """Return whether a body is valid by the schema of a version."""
    try:
        return bool(_validator(version).is_valid(msgspec.json.decode(body)))
    except msgspec.MsgspecError:
        return False


@functools.cache
def _validator(version: int) -> Any:
    return jsonschema_rs.Draft202012Validator(SCHEMAS[version])


async def create(session: aiohttp.ClientSession, base_url: str, names: Iterable[str]) -> list[str]:
    """Create event types with both versions, which are enforced; return the paths of their newer versions."""
    paths = []
    for name in names:
        made = {"name": name, "schema": SCHEMAS[OLD], "validation": "enforce"}
        async with session.post(f"{base_url}/api/v1/event-types", json=made) as answer:
            versions = f"/api/v1/event-types/{(await answer.json())['id']}/versions"
        added = {"schema": SCHEMAS[NEW], "down_conversion": conversion(0)}
        async with session.post(base_url + versions, json=added) as answer:
            paths.append(f"{versions}/{(await answer.json())['number']}")
    return paths


class Conversions:
    """Changes the conversions all the time."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        # How many changes the service has accepted.
        self.changes = 0

    async def run(self, base_url: str, api_key: str) -> NoReturn:
        """Change them as far as the service is there, until cancelled."""
        number = 0
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {api_key}"}) as session:
            while True:
                number += 1
                for path in self._paths:
                    changed = {"down_conversion": conversion(number)}
                    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                        async with (
                            asyncio.timeout(TIMEOUT_SECONDS),
                            session.patch(base_url + path, json=changed) as made,
                        ):
                            self.changes += made.status == CHANGED
                await asyncio.sleep(CHANGE_SECONDS)
