"""The shares of calls in progress."""

import contextlib

import pytest

from services.platform import errors
from services.platform.auth import identity
from services.platform.auth.identity import Identity
from services.platform.auth.roles import Role
from services.platform.grpc.places import Places


def of(tenant_id: str) -> Identity:
    return Identity(tenant_id=tenant_id, role=Role.WRITE)


def filled(places: Places, stack: contextlib.ExitStack, caller: Identity) -> int:
    """Take places until one is refused; return how many were taken."""
    taken = 0
    with contextlib.suppress(errors.Overloaded):
        while True:
            stack.enter_context(places.taken(caller))
            taken += 1
    return taken


def test_a_single_tenant_gets_half_of_the_places_and_others_share_the_rest() -> None:
    places = Places(100, message_bytes=1)
    with contextlib.ExitStack() as stack:
        assert filled(places, stack, of("a")) == 50
        assert filled(places, stack, of("b")) == 25
        assert filled(places, stack, of("c")) == 13
        # A tenant that has no place finds one.
        with places.taken(of("d")):
            pass


def test_a_gateway_is_limited_by_all_places_only() -> None:
    places = Places(100, message_bytes=1)
    with contextlib.ExitStack() as stack:
        taken = filled(places, stack, of("a"))
        assert filled(places, stack, identity.INTERNAL) == 100 - taken


def test_places_are_free_again_when_calls_end_and_a_tenant_without_calls_is_forgotten() -> None:
    places = Places(10, message_bytes=1)
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            assert filled(places, stack, of("a")) == 5
    assert places._by_tenant == {}
    with pytest.raises(KeyError), places.taken(of("a")):
        raise KeyError
    assert places._by_tenant == {}


@pytest.mark.parametrize(("message_bytes", "at_once"), [(4 << 20, 16), (64 << 20, 4), (1 << 10, 1 << 16)])
def test_messages_that_are_received_at_once_are_bounded_by_their_bytes(message_bytes: int, at_once: int) -> None:
    with Places(10, message_bytes=message_bytes).taken(of("a")) as receiving:
        assert receiving is not None
        assert receiving._value == at_once
