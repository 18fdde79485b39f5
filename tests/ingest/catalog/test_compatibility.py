"""Which changes of a schema are breaking."""

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from services.ingest.catalog import compatibility

OBJECT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "n": {"type": "integer", "minimum": 0, "maximum": 9},
        "k": {"enum": [1, 2]},
    },
    "required": ["id", "n"],
}


def changed(**properties: Any) -> dict[str, Any]:
    return {**OBJECT, "properties": {**OBJECT["properties"], **properties}}


TREE: dict[str, Any] = {"$defs": {"t": {"properties": {"v": {"type": "string"}, "t": {"$ref": "#/$defs/t"}}}}}
OTHER_TREE: dict[str, Any] = {"$defs": {"t": {"properties": {"v": {"type": "null"}, "t": {"$ref": "#/$defs/t"}}}}}
# Old, new, and the places that break.
CASES: dict[str, tuple[Any, Any, list[str]]] = {
    "nothing": (OBJECT, OBJECT, []),
    "another description": (OBJECT, {**OBJECT, "description": "new"}, []),
    "one more member": (OBJECT, changed(new={"type": "string"}), []),
    "one more that is required": (OBJECT, {**changed(new={}), "required": ["id", "n", "new"]}, []),
    "no longer required": (OBJECT, {**OBJECT, "required": ["id"]}, ["/required"]),
    "a member gone": (
        OBJECT,
        {**OBJECT, "properties": {"id": {"type": "string"}, "n": OBJECT["properties"]["n"]}},
        ["/properties/k"],
    ),
    "another type": (OBJECT, changed(id={"type": "integer"}), ["/properties/id/type"]),
    "one more type": (OBJECT, changed(id={"type": ["string", "null"]}), ["/properties/id/type"]),
    "a narrower number": (OBJECT, changed(n={"type": "integer", "minimum": 1, "maximum": 8}), []),
    "a wider number": (
        OBJECT,
        changed(n={"type": "integer", "minimum": -1}),
        ["/properties/n/maximum", "/properties/n/minimum"],
    ),
    "an integer of a number": ({"type": "number"}, {"type": "integer"}, []),
    "one more value": (OBJECT, changed(k={"enum": [1, 2, 3]}), ["/properties/k/enum"]),
    "one value less": (OBJECT, changed(k={"const": 1}), []),
    "open again": ({"additionalProperties": False}, {}, ["/additionalProperties"]),
    "other elements": ({"items": {"type": "string"}}, {"items": {"type": "null"}}, ["/items/type"]),
    "an alternative more": (
        {"anyOf": [{"type": "string"}]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        ["/anyOf"],
    ),
    "a pattern gone": ({"pattern": "^a"}, {}, ["/pattern"]),
    "equal elements": ({"uniqueItems": True}, {}, ["/uniqueItems"]),
    "a definition": ({**TREE, "$ref": "#/$defs/t"}, {**OTHER_TREE, "$ref": "#/$defs/t"}, ["/properties/v/type"]),
    "a definition that is negated": (
        {**TREE, "not": {"$ref": "#/$defs/t"}},
        {**OTHER_TREE, "not": {"$ref": "#/$defs/t"}},
        ["/not"],
    ),
    "nothing was promised": ({}, OBJECT, []),
    "everything is allowed": (
        OBJECT,
        {},
        ["/properties/id", "/properties/k", "/properties/n", "/required", "/required", *["/type"] * 5],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_breaking_changes(name: str) -> None:
    old, new, places = CASES[name]
    found = compatibility.breaking(json.dumps(old).encode(), json.dumps(new).encode())
    assert [change.path for change in found] == places
    assert all(change.description for change in found)


async def test_tenants_take_turns_at_comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, begun, going = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    done: list[bytes] = []

    def slow(old: bytes, _: bytes) -> Sequence[compatibility.Change]:
        loop.call_soon_threadsafe(begun.set)
        assert going.wait(60)
        done.append(old)
        return ()

    monkeypatch.setattr(compatibility, "breaking", slow)
    comparisons = compatibility.Comparisons()
    async with asyncio.TaskGroup() as group:
        for tenant_id in ("much", "much", "much", "much", "little"):
            group.create_task(comparisons.breaking(tenant_id, tenant_id.encode(), b""))
            await begun.wait()
        await asyncio.sleep(0)
        going.set()
    assert done == [b"much", b"much", b"little", b"much", b"much"]
