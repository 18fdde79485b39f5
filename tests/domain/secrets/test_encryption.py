"""Encryption at rest: what can be decrypted, and what cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.harness.keys import ENCRYPTION_KEY, OTHER_KEY, encryption_keys
from services.domain.secrets.encryption import CannotOpen

PLACE = b"subscription:1"


@given(plain=st.binary(), place=st.binary())
def test_sealed_value_opens_at_its_place(plain: bytes, place: bytes) -> None:
    sealed = encryption_keys().seal(plain, place)
    assert encryption_keys().open(sealed, place) == plain
    # Version, key id, nonce and tag.
    assert len(sealed) == 1 + 8 + 12 + len(plain) + 16
    assert sealed[0] == 1


def test_the_same_is_sealed_otherwise_each_time() -> None:
    assert len({encryption_keys().seal(b"secret", PLACE) for _ in range(100)}) == 100


@given(position=st.integers(0, 42), flipped=st.integers(1, 255))
def test_a_changed_byte_anywhere_keeps_it_shut(position: int, flipped: int) -> None:
    sealed = bytearray(encryption_keys().seal(b"secret", PLACE))
    sealed[position] ^= flipped
    with pytest.raises(CannotOpen):
        encryption_keys().open(bytes(sealed), PLACE)


@given(length=st.integers(0, 42))
def test_a_part_of_it_does_not_open(length: int) -> None:
    with pytest.raises(CannotOpen):
        encryption_keys().open(encryption_keys().seal(b"secret", PLACE)[:length], PLACE)


@given(st.binary())
def test_values_that_were_not_sealed_do_not_open(anything: bytes) -> None:
    with pytest.raises(CannotOpen):
        encryption_keys().open(anything, PLACE)


def test_sealed_value_does_not_open_at_another_place() -> None:
    with pytest.raises(CannotOpen):
        encryption_keys().open(encryption_keys().seal(b"secret", PLACE), b"subscription:2")


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, both, new = (
        encryption_keys(ENCRYPTION_KEY),
        encryption_keys(OTHER_KEY, ENCRYPTION_KEY),
        encryption_keys(OTHER_KEY),
    )
    before, after = old.seal(b"secret", PLACE), both.seal(b"secret", PLACE)
    assert both.open(before, PLACE) == both.open(after, PLACE) == new.open(after, PLACE) == b"secret"
    assert (both.is_first(before), both.is_first(after)) == (False, True)
    with pytest.raises(CannotOpen, match="not among ENCRYPTION_KEYS"):
        old.open(after, PLACE)


def test_keys_do_not_show_in_their_representation() -> None:
    assert "tests encrypt" not in repr(vars(encryption_keys()))
