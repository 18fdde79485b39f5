"""Subscriptions' secrets: what the columns contain, and when each key is valid."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from dev.harness.keys import ENCRYPTION_KEY, OTHER_KEY, vault
from services.domain.secrets import vault as vaults
from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.vault import Secret, Secrets

ONE, OTHER = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 3, 14, 15, 9, 26, 535_897, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_secrets_sealed_for_a_subscription_open_only_for_it() -> None:
    kept = [Secret("new"), Secret("old", NOW)]
    sealed = vault().seal(ONE, kept)
    opener = vault()
    assert opener.opened(ONE, sealed).kept == tuple(kept)
    # Although it was decrypted a moment ago.
    with pytest.raises(CannotOpen):
        opener.opened(OTHER, sealed)


def test_a_subscription_without_secrets_has_none() -> None:
    assert vault().secrets(ONE, None).kept == ()


def test_old_secrets_hold_until_they_end_newest_first() -> None:
    secrets = Secrets([Secret("c"), Secret("b", NOW + 2 * SECOND), Secret("a", NOW + SECOND)])

    def held(moment: datetime) -> list[bytes]:
        return [key.hub for key in secrets.keys(moment)]

    assert held(NOW) == [b"c", b"b", b"a"]
    assert held(NOW + SECOND) == [b"c", b"b"]
    assert held(NOW + 3 * SECOND) == [b"c"]
    assert [secret.secret_key for secret in secrets.previous(NOW + SECOND)] == ["b"]


def test_a_changed_secret_is_opened_again() -> None:
    opener = vault()
    first, second = opener.seal(ONE, [Secret("a")]), opener.seal(ONE, [Secret("b")])
    assert [opener.opened(ONE, sealed).kept[0].secret_key for sealed in (first, second, first)] == ["a", "b", "a"]
    assert opener.opened(ONE, first) is opener.opened(ONE, bytes(bytearray(first)))


def test_cache_of_opened_secrets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaults, "OPENED", 3)
    opener = vault()
    for number in range(10):
        opener.opened(UUID(int=number), opener.seal(UUID(int=number), [Secret("s")]))
    assert [number for number in range(10) if UUID(int=number) in opener._opened] == [7, 8, 9]


def test_a_secret_is_sealed_again_only_under_another_key() -> None:
    sealed = vault(ENCRYPTION_KEY).seal(ONE, [Secret("s", NOW)])
    assert vault(ENCRYPTION_KEY, OTHER_KEY).resealed(ONE, "sealed_secrets", sealed) is None
    fresh = vault(OTHER_KEY, ENCRYPTION_KEY).resealed(ONE, "sealed_secrets", sealed)
    assert fresh is not None
    assert vault(OTHER_KEY).opened(ONE, fresh).kept == (Secret("s", NOW),)


def test_secrets_do_not_show_in_representations() -> None:
    secrets = Secrets([Secret("hunter2-s3cret", NOW)])
    for shown in (repr(secrets), repr(secrets.kept), repr(secrets.keys(NOW)), str(secrets.kept[0])):
        assert "hunter2" not in shown


def test_headers_are_sealed_for_their_subscription_alone() -> None:
    values = {"Authorization": "hunter2"}
    sealed = vault().seal_headers(ONE, values)
    assert sealed is not None
    assert b"hunter2" not in sealed
    one = vault()
    assert one.headers(ONE, sealed) == one.headers(ONE, sealed) == values
    with pytest.raises(CannotOpen):
        one.headers(OTHER, sealed)
    with pytest.raises(CannotOpen):
        one.opened(ONE, sealed)
    # Replaced secrets are decrypted again.
    assert one.headers(ONE, vault().seal_headers(ONE, {"A": "b"})) == {"A": "b"}


def test_empty_headers_are_stored_as_null() -> None:
    assert vault().seal_headers(ONE, {}) is None
    assert vault().headers(ONE, None) == {}
    assert vault().resealed(ONE, "sealed_headers", None) is None


def test_verification_secrets_open_only_for_their_subscription_and_are_not_signing_secrets() -> None:
    sealed = vault().seal_verification(ONE, ["hunter2", "whsec_!"])
    assert sealed is not None
    assert b"hunter2" not in sealed
    opener = vault()
    assert opener.verification_secrets(ONE, sealed) == ("hunter2", "whsec_!")
    # Stripe's secrets need not be base64.
    assert [key.hub for key in opener.verification_keys(ONE, sealed)] == [b"hunter2", b"whsec_!"]
    for wrong in (lambda: opener.verification_keys(OTHER, sealed), lambda: opener.opened(ONE, sealed)):
        with pytest.raises(CannotOpen):
            wrong()
    assert opener.seal_verification(ONE, []) is None
    assert opener.verification_secrets(ONE, None) == ()


def test_verification_keys_are_those_of_what_is_sealed_now() -> None:
    opener = vault()
    for secret in ("one", "other"):
        sealed = vault().seal_verification(ONE, [secret])
        assert sealed is not None
        for _ in range(2):
            assert [key.hub for key in opener.verification_keys(ONE, sealed)] == [secret.encode()]
