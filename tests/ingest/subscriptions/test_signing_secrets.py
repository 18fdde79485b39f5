"""How a secret is made, and how the next takes its place."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from services.domain.secrets.signatures import SignatureScheme
from services.domain.secrets.vault import Secret, Secrets
from services.ingest.subscriptions import secrets
from services.ingest.subscriptions.record import secret_violations
from services.platform import errors

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


def test_no_old_one_outlives_a_shorter_overlap_and_none_outlives_none() -> None:
    before = (Secret("b"), Secret("a", NOW + 12 * HOUR))
    assert _rotated(*before, overlap=HOUR) == [Secret("new"), Secret("b", NOW + HOUR), Secret("a", NOW + HOUR)]
    assert _rotated(*before, overlap=timedelta()) == [Secret("new")]


def test_what_was_unsigned_gets_its_first_secret() -> None:
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
    with pytest.raises(errors.InvalidArgument, match="overlap_hours: must be 0 to 168"):
        secrets.overlap(hours)


def test_an_overlap_is_a_day_unless_asked_for() -> None:
    found = [secrets.overlap(hours) / HOUR for hours in (None, 0, 0.5, 168)]
    assert found == [24, 0, 0.5, 168]


def test_a_token_matches_its_hash_and_nothing_else() -> None:
    token, other = secrets.new_ingest_token(), secrets.new_ingest_token()
    assert token.startswith("whi_")
    assert len(token) >= 4 + 43
    assert secrets.matches_ingest_token(token, secrets.hash_ingest_token(token))
    for wrong in (other, token[:-1], token + "a", token.upper(), "", "ä"):
        assert not secrets.matches_ingest_token(wrong, secrets.hash_ingest_token(token))
    assert not secrets.matches_ingest_token("", None)
