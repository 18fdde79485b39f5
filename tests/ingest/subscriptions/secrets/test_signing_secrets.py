"""How secrets are created and replaced."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from services.domain.secrets.signatures import Key, SignatureScheme
from services.domain.secrets.vault import Secret, Secrets
from services.ingest.subscriptions import secrets
from services.ingest.subscriptions.record import secret_violations
from services.platform import errors
from services.platform.auth import keys

NOW = datetime(2026, 3, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _rotated(*before: Secret, new: str = "new", overlap: timedelta = 24 * HOUR) -> list[Secret]:
    return list(secrets.rotated(Secrets(before), Secret(new), now=NOW, overlap=overlap))


def test_a_made_secret_is_32_random_bytes_that_standard_webhooks_take() -> None:
    made = {secrets.new_signing_secret(SignatureScheme.HMAC_SHA256) for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
        assert secret_violations(secret, SignatureScheme.HMAC_SHA256) == []


def test_the_old_secret_holds_for_the_overlap() -> None:
    assert _rotated(Secret("old")) == [Secret("new"), Secret("old", NOW + 24 * HOUR)]


def test_older_ones_keep_their_ends_and_what_ended_is_forgotten() -> None:
    before = (Secret("c"), Secret("b", NOW + HOUR), Secret("a", NOW))
    assert _rotated(*before) == [Secret("new"), Secret("c", NOW + 24 * HOUR), Secret("b", NOW + HOUR)]


def test_old_secrets_end_with_a_shorter_overlap_and_at_once_without_one() -> None:
    before = (Secret("b"), Secret("a", NOW + 12 * HOUR))
    assert _rotated(*before, overlap=HOUR) == [Secret("new"), Secret("b", NOW + HOUR), Secret("a", NOW + HOUR)]
    assert _rotated(*before, overlap=timedelta()) == [Secret("new")]


def test_a_rotation_of_an_unsigned_subscription_makes_its_first_secret() -> None:
    assert _rotated() == [Secret("new")]


def test_the_same_secret_again_is_not_an_old_one_of_itself() -> None:
    assert _rotated(Secret("new"), Secret("old", NOW + HOUR)) == [Secret("new"), Secret("old", NOW + HOUR)]


def test_ten_old_ones_hold_and_an_eleventh_is_refused_with_the_way_out() -> None:
    nine = [Secret(f"{number}", NOW + number * HOUR) for number in range(9, 0, -1)]
    ten = _rotated(Secret("current"), *nine)
    assert len(ten) == 11
    with pytest.raises(errors.Conflict, match=r"2026-03-14T01:00:00Z.*overlap_hours 0") as raised:
        _rotated(*ten, new="one more")
    assert raised.value.reason == "TOO_MANY_SECRETS"
    assert _rotated(*ten, new="one more", overlap=timedelta()) == [Secret("one more")]


@pytest.mark.parametrize("hours", [-0.001, 168.001, float("nan"), float("inf")])
def test_an_overlap_out_of_its_bounds_is_refused(hours: float) -> None:
    with pytest.raises(errors.InvalidArgument, match="overlap_hours: must be between 0 and 168"):
        secrets.overlap(hours)


def test_an_overlap_is_a_day_by_default() -> None:
    found = [secrets.overlap(hours) / HOUR for hours in (None, 0, 0.5, 168)]
    assert found == [24, 0, 0.5, 168]


def test_a_token_matches_its_hash_and_nothing_else() -> None:
    token, other = keys.make_ingest_token(), keys.make_ingest_token()
    assert token.startswith("whi_")
    assert len(token) >= 4 + 43
    assert secrets.matches_ingest_token(token, keys.digest(token))
    for wrong in (other, token[:-1], token + "a", token.upper(), "", "ä"):
        assert not secrets.matches_ingest_token(wrong, keys.digest(token))
    assert not secrets.matches_ingest_token("", None)


# -- which are refused, and which cause warnings --

# The shortest secret in the documentation of webhook providers has 15 characters.
SHORTEST_DOCUMENTED = "my-secret-token"


@pytest.mark.parametrize("secret", ["secret-s\n", "secret-s\r\n", "\n", "secret-s\r"])
def test_a_line_break_at_the_end_is_named(secret: str) -> None:
    why = secrets.why_no_text(secret)
    assert why is not None
    assert why.startswith("must not end with a line break")


@pytest.mark.parametrize("secret", [" secret-s", "secret-s ", "\tsecret-s", "\nsecret-s", "secret-s\u2003"])
def test_white_space_around_it_is_named(secret: str) -> None:
    assert secrets.why_no_text(secret) == "must not begin or end with white space"


@pytest.mark.parametrize("secret", ["two words", SHORTEST_DOCUMENTED, "It's a Secret to Everybody", "a\nb"])
def test_white_space_in_it_is_a_part_of_it(secret: str) -> None:
    assert secrets.why_no_text(secret) is None


@pytest.mark.parametrize(
    ("secret", "refused", "warned"),
    [
        ("s" * 7, True, True),
        ("s" * 8, False, True),
        (SHORTEST_DOCUMENTED, False, True),
        ("s" * 23, False, True),
        ("s" * 24, False, False),
        ("☃" * 8, False, False),  # 24 bytes
        ("whsec_" + "QUFB" * 2, True, True),  # 6 bytes
        ("whsec_" + "QUFB" * 7, False, True),  # 21 bytes
        ("whsec_" + "QUFB" * 8, False, False),
        ("whsec_no base64, as Stripe's may be", False, False),
    ],
)
def test_the_bytes_of_the_key_count(secret: str, *, refused: bool, warned: bool) -> None:
    key = Key.of_provider(secret)
    assert (secrets.why_too_short(key) is not None) is refused
    assert bool(secrets.secret_warnings("secret_key", [key])) is warned


def test_a_warning_names_which_of_several() -> None:
    keys = [Key.of_provider("s" * size) for size in (24, 23)]
    (warning,) = secrets.secret_warnings("verification_secrets", keys)
    assert warning.startswith("verification_secrets.1: has fewer than 24 bytes")
