"""The format of keys, roles, and the cache of keys."""

import asyncio
import importlib
import pkgutil
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from google.protobuf.descriptor import MethodDescriptor

import protos.webhook.v1
from dev.harness.keys import SERVICE_KEY, metadata
from services.platform import errors
from services.platform.auth import identity, keys, known, roles
from services.platform.auth.authenticator import Authenticator
from services.platform.auth.identity import Identity
from services.platform.auth.known import Known
from services.platform.auth.roles import Role
from services.platform.process import bounds
from services.platform.settings import AuthSettings


def methods() -> Iterator[MethodDescriptor]:
    """Return every method of every proto."""
    for module in pkgutil.iter_modules(protos.webhook.v1.__path__):
        if module.name.endswith("_pb2"):
            descriptor = importlib.import_module(f"protos.webhook.v1.{module.name}").DESCRIPTOR
            for service in descriptor.services_by_name.values():
                yield from service.methods


def test_methods_of_all_protos_have_a_least_role() -> None:
    assert {f"/{method.containing_service.full_name}/{method.name}" for method in methods()} == set(roles.RULES)


def test_methods_take_one_request_and_those_that_stream_say_so() -> None:
    for method in methods():
        assert not method.client_streaming, method.full_name
        says_so = method.name.startswith(("Stream", "Watch")) or method.name == "Pull"
        assert method.server_streaming == says_so, method.full_name


@pytest.mark.parametrize(
    ("role", "holds"),
    [
        (Role.ADMIN, {Role.ADMIN, Role.WRITE, Role.INGEST, Role.READ, Role.PULL}),
        (Role.WRITE, {Role.WRITE, Role.INGEST, Role.READ, Role.PULL}),
        (Role.INGEST, {Role.INGEST}),
        (Role.READ, {Role.READ}),
        (Role.PULL, {Role.PULL}),
        (Role.SERVICE, {Role.SERVICE, Role.INGEST}),
        (Role.PORTAL, {Role.PORTAL}),
        (Role.ANYBODY, set(Role)),
    ],
)
def test_a_role_does_what_it_holds_and_nothing_else(role: Role, holds: set[Role]) -> None:
    for needed in Role:
        if needed in holds:
            roles.check(role, needed)
        else:
            with pytest.raises(errors.PermissionDenied) as raised:
                roles.check(role, needed)
            assert raised.value.reason == "ROLE_INSUFFICIENT"
            expected = "requires the service key" if needed is Role.SERVICE else f"with role {needed};"
            assert expected in raised.value.message


def test_keys_are_made_as_they_are_taken() -> None:
    made = {keys.make() for _ in range(100)}
    assert len(made) == 100
    for key in made:
        assert keys.why_not(key) is None
        assert keys.of_header(f"Bearer {key}") == key
        assert keys.shown(key) == key[:10]
        assert len(keys.digest(key)) == 32


@pytest.mark.parametrize("header", ["Bearer whk_a", "bearer whk_a", "BEARER  whk_a", "Bearer whk_a "])
def test_a_key_is_found_however_the_scheme_is_spelled(header: str) -> None:
    assert keys.of_header(header) == "whk_a"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "whk_a", "Basic whk_a", "Bearer a b", "Bearer é", "Bearer a\x00", f"Bearer {'a' * 257}"],
)
def test_header_that_is_not_a_bearer_token_is_rejected_without_being_shown(header: str) -> None:
    with pytest.raises(errors.Unauthenticated) as raised:
        keys.of_header(header)
    assert raised.value.reason == "KEY_INVALID"
    assert "whk_a" not in raised.value.message


class Asked:
    """Respond as configured, and record requests."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, key: str) -> str:
        self.keys.append(key)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return key.upper()


class Clock:
    """Replaces time.monotonic()."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        # Only in these modules: the event loop must keep its clock.
        for module in (known, bounds):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_a_key_is_looked_up_once_for_concurrent_requests() -> None:
    asked = Asked()
    asked.gate.clear()
    found = Known(asked)
    waiting = [asyncio.ensure_future(found.find("a")) for _ in range(10)]
    await asyncio.sleep(0.01)
    asked.gate.set()
    assert await asyncio.gather(*waiting) == ["A"] * 10
    assert asked.keys == ["a"]
    assert found.fresh("a") == "A"


async def test_known_key_is_renewed_in_the_background_and_expires_if_that_fails(clock: Clock) -> None:
    asked = Asked()
    found = Known(asked)
    await found.find("a")
    clock.now += known.RENEW_SECONDS
    assert found.fresh("a") == "A"
    await asyncio.sleep(0.01)
    assert asked.keys == ["a", "a"]
    # Renewed until then. Now it cannot be checked, and stays valid until its end and no longer.
    asked.failure = errors.Unavailable("away")
    clock.now += known.RENEW_SECONDS
    assert found.fresh("a") == "A"
    await asyncio.sleep(0.01)
    assert found.fresh("a") == "A"
    assert len(asked.keys) == 3  # not again at once
    clock.now += known.TTL_SECONDS - known.RENEW_SECONDS
    assert found.fresh("a") is None
    for _ in range(3):
        with pytest.raises(errors.Unavailable):
            await found.find("a")
        assert found.fresh("a") is None


async def test_a_renewal_that_fails_late_lengthens_nothing(clock: Clock) -> None:
    asked = Asked()
    found = Known(asked)
    await found.find("a")
    asked.failure = errors.Unavailable("away")
    clock.now += known.TTL_SECONDS - known.RETRY_SECONDS / 2
    assert found.fresh("a") == "A"
    await asyncio.sleep(0.01)
    clock.now += known.RETRY_SECONDS / 2
    assert found.fresh("a") is None


async def test_a_key_that_is_refused_at_its_renewal_is_refused_from_then_on(clock: Clock) -> None:
    asked = Asked()
    found = Known(asked)
    await found.find("a")
    asked.failure = keys.invalid()
    clock.now += known.RENEW_SECONDS
    found.fresh("a")
    await asyncio.sleep(0.01)
    assert found.fresh("a") is None
    with pytest.raises(errors.Unauthenticated):
        await found.find("a")
    assert len(asked.keys) == 2  # the second refusal is cached
    clock.now += known.REFUSED_SECONDS
    with pytest.raises(errors.Unauthenticated):
        await found.find("a")
    assert len(asked.keys) == 3


async def test_invalid_keys_do_not_evict_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "SIZE", 10)
    asked = Asked()
    found = Known(asked)
    await found.find("good")
    asked.failure = keys.invalid()
    for number in range(100):
        with pytest.raises(errors.Unauthenticated):
            await found.find(f"made up {number}")
    assert found.fresh("good") == "GOOD"
    assert len(found._refused) == 10


async def test_lookups_of_unknown_keys_are_bounded_and_renewals_are_not(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(known, "MAX_ASKING", 2)
    asked = Asked()
    found = Known(asked)
    await found.find("good")
    asked.gate.clear()
    waiting = [asyncio.ensure_future(found.find(key)) for key in "ab"]
    await asyncio.sleep(0.01)
    monkeypatch.setattr(found, "_timeout_seconds", 0.05)
    with pytest.raises(errors.Overloaded):
        await found.find("c")
    clock.now += known.RENEW_SECONDS
    assert found.fresh("good") == "GOOD"
    asked.gate.set()
    assert await asyncio.gather(*waiting) == ["A", "B"]
    clock.now += known.TTL_SECONDS - known.RENEW_SECONDS
    assert found.fresh("good") == "GOOD"
    assert await found.find("c") == "C"


async def test_an_unknown_key_waits_for_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MAX_ASKING", 1)
    asked = Asked()
    found = Known(asked)
    asked.gate.clear()
    first, second = (asyncio.ensure_future(found.find(key)) for key in "ab")
    await asyncio.sleep(0.01)
    assert not second.done()
    asked.gate.set()
    assert (await first, await second) == ("A", "B")


async def test_a_key_that_was_valid_before_does_not_count_as_unknown(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(known, "MAX_ASKING", 1)
    asked = Asked()
    found = Known(asked)
    await found.find("good")
    clock.now += known.TTL_SECONDS
    asked.gate.clear()
    stranger, good = (asyncio.ensure_future(found.find(key)) for key in ("made up", "good"))
    await asyncio.sleep(0.01)
    assert asked.keys.count("good") == 2
    asked.gate.set()
    assert await good == "GOOD"
    await stranger


class Lookups:
    """Finds the holders of keys, and records requests."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, text: str) -> Identity:
        self.asked.append(text)
        return Identity(tenant_id="acme", role=Role.WRITE, key_id=text)


async def test_a_batch_of_a_gateway_costs_no_lookup_and_an_actor_one_for_many_calls() -> None:
    lookups = Lookups()
    settings = AuthSettings(auth_required=True, service_key=SERVICE_KEY)
    authenticator = Authenticator(settings, lookups, lookups)
    for _ in range(3):
        caller = await authenticator.admit("/webhook.v1.IngestService/BatchIngest", metadata(SERVICE_KEY, actor="k"))
        assert caller == identity.INTERNAL
    assert lookups.asked == []
    for method in ("GetSubscription", "DeleteSubscription", "ListSubscriptions"):
        found = await authenticator.admit(f"/webhook.v1.SubscriptionService/{method}", metadata(SERVICE_KEY, actor="k"))
        assert (found.tenant_id, found.role, found.key_id, found.internal) == ("acme", Role.WRITE, "k", True)
    assert lookups.asked == ["k"]
