"""Which secrets a preset needs."""

import pytest

from services.ingest.subscriptions import verification
from services.ingest.subscriptions.verification import Preset
from services.platform import errors

PROVIDERS = [Preset.STRIPE, Preset.SHOPIFY, Preset.SLACK, Preset.STANDARD_WEBHOOKS]


@pytest.mark.parametrize("preset", PROVIDERS)
def test_a_providers_secret_is_never_the_subscriptions_own(preset: Preset) -> None:
    for signs in (True, False):
        with pytest.raises(errors.InvalidArgument, match=r"^verification_secrets: ") as raised:
            verification.check_preset(preset, (), signs=signs)
        assert preset in raised.value.message
        verification.check_preset(preset, ["whsec_c2VjcmV0"], signs=signs)


@pytest.mark.parametrize("preset", [Preset.REQUIRED, Preset.GITHUB])
def test_some_secret_is_needed_where_a_signature_is_required(preset: Preset) -> None:
    verification.check_preset(preset, (), signs=True)
    verification.check_preset(preset, ["s"], signs=False)
    with pytest.raises(errors.InvalidArgument, match=r"^verification_secrets: "):
        verification.check_preset(preset, (), signs=False)


@pytest.mark.parametrize("preset", [Preset.AUTO, Preset.NONE])
def test_none_is_needed_where_none_may_be_looked_at(preset: Preset) -> None:
    verification.check_preset(preset, (), signs=False)


@pytest.mark.parametrize("secret", ["whsec_!", "v1,whsec_!", "whsec_abc"])
def test_what_follows_whsec_is_base64_in_standard_webhooks_alone(secret: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^verification_secrets\.1: ") as raised:
        verification.check_preset(Preset.STANDARD_WEBHOOKS, ["plain", secret], signs=True)
    assert secret not in raised.value.message.removesuffix("after whsec_")
    verification.check_preset(Preset.STRIPE, [secret], signs=True)


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
    assert [violation.field for violation in verification.secret_violations(secrets)] == fields
