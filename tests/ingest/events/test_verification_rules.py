"""Which secrets a preset needs."""

import pytest

from services.ingest.subscriptions import secrets as rules
from services.ingest.subscriptions.secrets import Verification
from services.platform import errors

PROVIDERS = [Verification.STRIPE, Verification.SHOPIFY, Verification.SLACK, Verification.STANDARD_WEBHOOKS]


@pytest.mark.parametrize("preset", PROVIDERS)
def test_a_providers_secret_is_never_the_subscriptions_own(preset: Verification) -> None:
    for signs in (True, False):
        with pytest.raises(errors.InvalidArgument, match=r"^verification_secrets: ") as raised:
            rules.check_verification(preset, (), signs=signs)
        assert preset in raised.value.message
        rules.check_verification(preset, ["whsec_c2VjcmV0"], signs=signs)


@pytest.mark.parametrize("preset", [Verification.REQUIRED, Verification.GITHUB])
def test_some_secret_is_needed_where_a_signature_is_required(preset: Verification) -> None:
    rules.check_verification(preset, (), signs=True)
    rules.check_verification(preset, ["s"], signs=False)
    with pytest.raises(errors.InvalidArgument, match=r"^verification_secrets: "):
        rules.check_verification(preset, (), signs=False)


@pytest.mark.parametrize("preset", [Verification.AUTO, Verification.NONE])
def test_none_is_needed_where_none_may_be_looked_at(preset: Verification) -> None:
    rules.check_verification(preset, (), signs=False)


@pytest.mark.parametrize("secret", ["whsec_!", "v1,whsec_!", "whsec_abc"])
def test_what_follows_whsec_is_base64_in_standard_webhooks_alone(secret: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^verification_secrets\.1: ") as raised:
        rules.check_verification(Verification.STANDARD_WEBHOOKS, ["plain", secret], signs=True)
    assert secret not in raised.value.message.removesuffix("after whsec_")
    rules.check_verification(Verification.STRIPE, [secret], signs=True)


@pytest.mark.parametrize(
    ("secrets", "fields"),
    [
        ([], []),
        (
            [
                "a" * 8,
                "b" * 256,
            ],
            [],
        ),
        (["a", "b", "c"], ["verification_secrets"]),
        ([""], ["verification_secrets.0"]),
        (["a" * 8, "b" * 257], ["verification_secrets.1"]),
        (["a" * 7, "whsec_YWJjYWJjYQ=="], ["verification_secrets.0", "verification_secrets.1"]),
        (["secret-a\n", " secret-b"], ["verification_secrets.0", "verification_secrets.1"]),
        (["\x00", "a\x00"], ["verification_secrets.0", "verification_secrets.1"]),
    ],
)
def test_what_is_wrong_with_secrets_is_said_of_each(secrets: list[str], fields: list[str]) -> None:
    assert [violation.field for violation in rules.verification_secret_violations(secrets)] == fields
