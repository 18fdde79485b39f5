"""Which secrets are refused, and which are warned of."""

import pytest

from services.domain.secrets.signatures import Key
from services.ingest.subscriptions import secrets

# The shortest in the documentation of those who sign webhooks has 15 characters.
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
