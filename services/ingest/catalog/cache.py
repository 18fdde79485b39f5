"""Catalogs as events are accepted: which tenants have one, their event types, and compiled schemas.

A process knows which tenants have a catalog, and looks again when it is told of a change: as long as none has one, it
asks for nothing. The event types of a tenant and the schemas are read when events need them.

Validating takes milliseconds at most (bounds.py), but a call may bring a thousand events. So a tenant that has used
more than a few milliseconds rests for as long, one such tenant at a time: together they take half of the process's time
at most, and the events of others go on meanwhile.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog

from services.domain.catalog.schemas import Schema
from services.domain.catalog.validation import Validation
from services.domain.events import TypeFilter
from services.ingest import metrics
from services.ingest.catalog.store import CatalogStore, Findings, State, Validated
from services.platform import errors
from services.platform.process import background
from services.platform.process.bounds import BoundedCache
from services.platform.stores.availability import STORE_AWAY
from services.platform.stores.signals import Signals

log = structlog.get_logger(__name__)

# What is looked at when a catalog has changed.
CHANGED = "catalogs"
RETRY_SECONDS = 1.0
# Between two looks while no tenant has a catalog: a change is told.
IDLE_SECONDS = 3_600.0
LOAD_TIMEOUT_SECONDS = 2.0
# Until what was found wrong is written down.
WRITE_DOWN_SECONDS = 1.0
# What a tenant may use until it rests.
SLICE_SECONDS = 0.005
# Of tenants' event types, and of compiled schemas, which take about ten times their text.
MAX_TENANTS = 1_000
MAX_SCHEMAS = 5_000
MAX_SCHEMA_BYTES = 16 << 20

_VALID, _WARNED, _REFUSED = (metrics.VALIDATED.labels(result) for result in ("valid", "warned", "refused"))


class _Compiled:
    """A schema; None where it cannot be used."""

    __slots__ = ("schema", "size_bytes")

    def __init__(self, schema: Schema | None, size_bytes: int) -> None:
        self.schema = schema
        self.size_bytes = size_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Promised:
    """What the catalog says of payloads of an event type."""

    name: str
    # Those of its versions, which events can state.
    schemas: Sequence[Any]
    # Whether payloads that match none of them are refused.
    is_enforced: bool


class Catalogs:
    """The catalogs of all tenants, as this process knows them."""

    def __init__(self, store: CatalogStore, heard: Signals) -> None:
        self._store = store
        self._signals = heard
        self._alarm = heard.alarm(CHANGED)
        self._states: Mapping[str, State] = {}
        # Each with the state of the catalog that they are of.
        self._types: BoundedCache[str, tuple[int, Mapping[str, Validated]]] = BoundedCache(MAX_TENANTS, keep_used=True)
        self._schemas: BoundedCache[tuple[UUID, int], _Compiled] = BoundedCache(
            MAX_SCHEMAS, keep_used=True, weigh=lambda one: one.size_bytes, max_weight=MAX_SCHEMA_BYTES
        )
        # What is not written down yet.
        self._found: dict[UUID, Findings] = {}
        # What tenants have used, and when that was, on time.monotonic().
        self._used: dict[str, tuple[float, float]] = {}
        self._resting = asyncio.Lock()
        self._loading = asyncio.Lock()

    # -- what is known --

    def has(self, tenant_id: str) -> bool:
        """Return whether a tenant has a catalog."""
        return tenant_id in self._states

    async def promised(self, tenant_id: str, entries: Sequence[str], most: int) -> Sequence[Promised]:
        """Return the event types that a list of types wants, as long as they have no more than `most` schemas."""
        state = self._states.get(tenant_id)
        if state is None:
            return ()
        wanted = TypeFilter(entries)
        found: list[Promised] = []
        for name, one in sorted((await self._types_of(tenant_id, state)).items()):
            if not wanted.wants(name):
                continue
            most -= len(one.versions)
            if most < 0:
                break
            texts = [await self._store.schema(one.id, number) for number in one.versions]
            schemas = [msgspec.json.decode(text) for text in texts if text is not None]
            is_enforced = (one.validation or state.validation) is Validation.ENFORCE
            found.append(Promised(name=name, schemas=schemas, is_enforced=is_enforced))
        return found

    async def changed(self) -> None:
        """Look at what a call of this process has changed, and tell the others."""
        self._signals.wake(CHANGED)
        with contextlib.suppress(*STORE_AWAY):  # then it is looked at as soon as it is back
            await self.refresh()

    async def run(self) -> None:
        """Keep what is known current, and write down what was found, until cancelled."""

        async def step() -> float:
            await self.refresh()
            await self.write_down()
            if not self._states and self._signals.listening:
                return IDLE_SECONDS
            return self._signals.pace(RETRY_SECONDS)

        await background.repeat(
            step, interval_seconds=RETRY_SECONDS, retry_seconds=RETRY_SECONDS, quiet=True, wake=self._alarm
        )

    async def refresh(self) -> None:
        """Read which tenants have a catalog."""
        self._states = await self._store.catalogs()
        self._used = {tenant_id: used for tenant_id, used in self._used.items() if tenant_id in self._states}

    async def write_down(self) -> None:
        """Write down how many events did not match. What a failure leaves is written with the next."""
        found, self._found = self._found, {}
        if not found:
            return
        try:
            await self._store.add_findings(found)
        except BaseException:
            for type_id, earlier in found.items():
                self._note(type_id, earlier)
            raise

    # -- validating --

    async def check(
        self, tenant_id: str, event_type: str, stated: int, payload: bytes, content_type: str, content_encoding: str
    ) -> int:
        """Validate an event if its type is in the catalog, and return its version; 0: it has none.

        PayloadInvalid if it is refused, InvalidArgument if it has `stated` a version that is not in use.
        """
        state = self._states.get(tenant_id)
        if state is None:
            return stated
        validated = (await self._types_of(tenant_id, state)).get(event_type)
        if validated is None:
            return stated
        number = stated or validated.current
        if number not in validated.versions:
            used = ", ".join(map(str, validated.versions))
            expected = f"must be a version of {event_type} that is not a draft: {used}"
            raise errors.InvalidArgument.field("event_version", expected)
        validation = validated.validation or state.validation
        if validation is Validation.OFF:
            return number
        schema = await self._schema(validated.id, number)
        if schema is None:
            return number
        began_at = time.perf_counter()
        violations = _unfit(content_type, content_encoding) or schema.violations(payload)
        took_seconds = time.perf_counter() - began_at
        metrics.VALIDATION_SECONDS.observe(took_seconds)
        await self._rest(tenant_id, took_seconds)
        if not violations:
            _VALID.inc()
            return number
        said = [f"{one.field}: {one.description}" for one in violations]
        self._note(validated.id, Findings(events=1, last_at=datetime.now(UTC), last_errors=said))
        if validation is Validation.WARN:
            _WARNED.inc()
            return number
        _REFUSED.inc()
        raise errors.PayloadInvalid.of(*violations)

    def _note(self, type_id: UUID, findings: Findings) -> None:
        known = self._found.get(type_id)
        if known is not None:
            latest = max(known, findings, key=lambda one: one.last_at)
            findings = Findings(
                events=known.events + findings.events, last_at=latest.last_at, last_errors=latest.last_errors
            )
        self._found[type_id] = findings
        self._alarm.set(WRITE_DOWN_SECONDS)

    async def _rest(self, tenant_id: str, took_seconds: float) -> None:
        """Let others go on if the tenant has used more than its slice of late; time without it pays it back."""
        now = time.monotonic()
        used, since = self._used.get(tenant_id, (0.0, now - took_seconds))
        idle_seconds = max(0.0, now - took_seconds - since)
        used = max(0.0, used - idle_seconds) + took_seconds
        self._used[tenant_id] = (used, now)
        if used < SLICE_SECONDS:
            return
        async with self._resting:
            await asyncio.sleep(used)
        self._used.pop(tenant_id, None)

    async def _types_of(self, tenant_id: str, state: State) -> Mapping[str, Validated]:
        known = self._types.get(tenant_id)
        if known is not None and known[0] == state.version:
            return known[1]
        async with asyncio.timeout(LOAD_TIMEOUT_SECONDS), self._loading:
            known = self._types.get(tenant_id)
            if known is None or known[0] != state.version:
                known = state.version, await self._store.types(tenant_id)
                self._types.put(tenant_id, known)
        return known[1]

    async def _schema(self, type_id: UUID, number: int) -> Schema | None:
        key = type_id, number
        known = self._schemas.get(key)
        if known is None:
            async with asyncio.timeout(LOAD_TIMEOUT_SECONDS), self._loading:
                known = self._schemas.get(key)
                if known is None:
                    known = _compiled(type_id, number, await self._store.schema(type_id, number))
                    self._schemas.put(key, known)
        return known.schema


def _compiled(type_id: UUID, number: int, text: bytes | None) -> _Compiled:
    if text is None:  # it was deleted a moment ago
        return _Compiled(None, 0)
    try:
        return _Compiled(Schema(text), len(text))
    except errors.InvalidArgument as error:
        # It was stored by another version of this program: events are not refused for that.
        log.error(  # noqa: TRY400 - what is wrong is in the message
            "a schema cannot be used; events are not validated",
            event_type_id=str(type_id),
            version=number,
            error=error.message,
        )
        return _Compiled(None, len(text))


def _unfit(content_type: str, content_encoding: str) -> Sequence[errors.Violation]:
    """Return why a payload cannot be validated whatever it is."""
    if content_encoding:
        return [errors.Violation(field="payload", description="must not have a Content-Encoding to be validated")]
    essence = content_type.partition(";")[0].strip().lower()
    if essence != "application/json" and not essence.endswith("+json"):
        return [errors.Violation(field="payload", description="must be JSON, and its content type application/json")]
    return ()
