"""How providers sign: their documented examples, and what their packages create, but nothing else."""

import hashlib
import hmac

import pytest

from services.domain.secrets.signatures import Key
from services.ingest.events import verification
from services.ingest.events.verification import MAX_HEADER_LENGTH, TOLERANCE_SECONDS, Check, Headers
from services.platform import errors
from tests.ingest.events.inbound.providers import Signer, by_shopify, by_slack, by_standard, by_stripe, by_svix

NOW = 1_773_500_966
BODY = '{"id": "evt_1", "type": "charge.succeeded", "note": "Grüße ☃"}'.encode()
SECRET, OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

# Slack's documentation, "Verifying requests from Slack".
SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SLACK_TIME = 1531420618
SLACK_SIGNED = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)


ALL: list[tuple[Check, Signer]] = [
    (verification.verify_stripe, by_stripe),
    (verification.verify_shopify, by_shopify),
    (verification.verify_slack, by_slack),
    (verification.verify_standard, by_standard),
    (verification.verify_standard, by_svix),
]
every = pytest.mark.parametrize(("scheme", "sign"), ALL, ids=[sign.__name__ for _, sign in ALL])
timed = pytest.mark.parametrize(
    ("scheme", "sign"),
    [pair for pair in ALL if pair[1] is not by_shopify],
    ids=[sign.__name__ for _, sign in ALL if sign is not by_shopify],
)


def check(
    scheme: Check, headers: dict[str, str] | list[tuple[str, str]], *secrets: str, body: bytes = BODY, now: float = NOW
) -> None:
    pairs = headers.items() if isinstance(headers, dict) else headers
    scheme(Headers(pairs), body, [Key.of_provider(secret) for secret in secrets or (SECRET,)], now)


def refusal(
    scheme: Check, headers: dict[str, str] | list[tuple[str, str]], *secrets: str, body: bytes = BODY, now: float = NOW
) -> errors.SignatureMismatch:
    with pytest.raises(errors.SignatureMismatch) as raised:
        check(scheme, headers, *secrets, body=body, now=now)
    assert all(secret not in str(raised.value) for secret in (SECRET, OTHER))
    return raised.value


# -- documented examples --


def test_slacks_documented_example_holds_in_its_time() -> None:
    headers = {"X-Slack-Signature": SLACK_SIGNED, "X-Slack-Request-Timestamp": str(SLACK_TIME)}
    check(verification.verify_slack, headers, SLACK_SECRET, body=SLACK_BODY, now=SLACK_TIME + 60)
    assert refusal(verification.verify_slack, headers, SLACK_SECRET, body=SLACK_BODY + b" ", now=SLACK_TIME).reason == (
        "SIGNATURE_MISMATCH"
    )
    assert refusal(verification.verify_slack, headers, SLACK_SECRET, body=SLACK_BODY).reason == "SIGNATURE_EXPIRED"


def test_the_example_of_standard_webhooks_holds_in_its_time() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    check(verification.verify_standard, headers, body=b'{"test": 2432232314}', now=1614265330)
    assert refusal(verification.verify_standard, headers, body=b'{"test": 2432232314}').reason == "SIGNATURE_EXPIRED"


# -- what the packages create --


@every
def test_a_signature_of_a_providers_package_is_valid_only_under_its_secret(scheme: Check, sign: Signer) -> None:
    headers = sign(SECRET, BODY, NOW)
    check(scheme, headers)
    check(scheme, headers, OTHER, SECRET)
    assert refusal(scheme, headers, OTHER).reason == "SIGNATURE_MISMATCH"
    assert refusal(scheme, headers, SECRET.removeprefix("whsec_")).reason == "SIGNATURE_MISMATCH"
    assert refusal(scheme, headers, SECRET + " ").reason == "SIGNATURE_MISMATCH"


@every
def test_a_body_that_is_changed_by_a_byte_does_not_hold(scheme: Check, sign: Signer) -> None:
    headers = sign(SECRET, BODY, NOW)
    for at in range(len(BODY)):
        changed = BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]
        assert refusal(scheme, headers, body=changed).reason == "SIGNATURE_MISMATCH"
    for changed in (b"", BODY + b"\n", b" " + BODY, BODY[:-1]):
        refusal(scheme, headers, body=changed)


@every
def test_signed_headers_are_invalid_if_any_character_changes(scheme: Check, sign: Signer) -> None:
    for name, value in sign(SECRET, BODY, NOW).items():
        for at in range(len(value)):
            other = "1" if value[at] != "1" else "2"
            refusal(scheme, sign(SECRET, BODY, NOW) | {name: value[:at] + other + value[at + 1 :]})


@every
def test_missing_headers_are_rejected_and_named(scheme: Check, sign: Signer) -> None:
    headers = sign(SECRET, BODY, NOW)
    for name in headers:
        error = refusal(scheme, {other: value for other, value in headers.items() if other != name})
        assert error.reason == "SIGNATURE_MISSING"
    assert refusal(scheme, {}).reason == "SIGNATURE_MISSING"
    assert refusal(scheme, {"x-hub-signature-256": "sha256=00"}).reason == "SIGNATURE_MISSING"


@every
def test_headers_that_appear_twice_are_refused(scheme: Check, sign: Signer) -> None:
    headers = sign(SECRET, BODY, NOW)
    for name, value in headers.items():
        for other in (value, "x"):
            error = refusal(scheme, [*headers.items(), (name, other)])
            assert (error.reason, error.violations[0].field.lower()) == ("SIGNATURE_MISMATCH", name)
            assert "more than once" in error.message


@every
@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        ",",
        "=",
        "t=,v1=",
        "v1,",
        "☃",
        "\xff\xfe",
        "\x00",
        "a" * MAX_HEADER_LENGTH,
        "a" * (MAX_HEADER_LENGTH + 1),
    ],
)
def test_garbage_is_rejected_in_any_header(scheme: Check, sign: Signer, value: str) -> None:
    headers = sign(SECRET, BODY, NOW)
    for name in headers:
        error = refusal(scheme, headers | {name: value})
        assert error.reason == "SIGNATURE_MISMATCH"
        assert len(error.message) < 200


# -- times --


@timed
@pytest.mark.parametrize("late", [-TOLERANCE_SECONDS, 0, TOLERANCE_SECONDS])
def test_times_within_the_tolerance_hold(scheme: Check, sign: Signer, late: int) -> None:
    check(scheme, sign(SECRET, BODY, NOW), now=NOW + late)


@timed
@pytest.mark.parametrize("late", [-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1, 10**9])
def test_times_beyond_it_have_expired_before_and_after(scheme: Check, sign: Signer, late: int) -> None:
    error = refusal(scheme, sign(SECRET, BODY, NOW), now=NOW + late)
    assert isinstance(error, errors.SignatureExpired)
    assert f"{TOLERANCE_SECONDS} s {'before' if late > 0 else 'after'}" in error.message
    # The error does not reveal whether the time of a signature without the secret would have been accepted.
    assert refusal(scheme, sign(OTHER, BODY, NOW), now=NOW + late).reason == "SIGNATURE_MISMATCH"


@pytest.mark.parametrize("time", ["", "x", "-1", "1e9", "1.5", "٣", "9" * 13, " 1", "0x10"])
def test_a_malformed_time_is_refused_however_it_is_signed(time: str) -> None:
    signed = hmac.new(SECRET.encode(), time.encode() + b"." + BODY, hashlib.sha256).hexdigest()
    assert (
        refusal(verification.verify_stripe, {"stripe-signature": f"t={time},v1={signed}"}).reason
        == "SIGNATURE_MISMATCH"
    )


# -- secrets that change --


def test_stripe_signs_with_both_secrets_while_it_changes_them() -> None:
    time, old = by_stripe(OTHER, BODY, NOW)["stripe-signature"].split(",")
    new = by_stripe(SECRET, BODY, NOW)["stripe-signature"].split(",")[1]
    for header in (f"{time},{old},{new}", f"{time},{new},{old}", f"{time}, {new}, v0={'0' * 64}, {old}"):
        check(verification.verify_stripe, {"stripe-signature": header})
        check(verification.verify_stripe, {"stripe-signature": header}, OTHER)
    assert refusal(verification.verify_stripe, {"stripe-signature": f"{time},{old}"}).reason == "SIGNATURE_MISMATCH"
    # v0 is for test mode, and proves nothing.
    right = new.removeprefix("v1=")
    assert (
        refusal(verification.verify_stripe, {"stripe-signature": f"{time},v0={right}"}).reason == "SIGNATURE_MISMATCH"
    )
    assert refusal(verification.verify_stripe, {"stripe-signature": f"{time},t=1,{new}"}).reason == "SIGNATURE_MISMATCH"
    assert refusal(verification.verify_stripe, {"stripe-signature": new}).reason == "SIGNATURE_MISMATCH"


def test_standard_webhooks_sends_a_signature_of_each_secret_and_of_other_kinds() -> None:
    headers = by_standard(SECRET, BODY, NOW)
    right, old = headers["webhook-signature"], by_standard(OTHER, BODY, NOW)["webhook-signature"]
    for value in (f"{old} {right}", f"v1a,{'A' * 88} {right} v2,x"):
        check(verification.verify_standard, headers | {"webhook-signature": value})
    for value in (old, right.removeprefix("v1,"), "v1a," + right.removeprefix("v1,"), right.replace(",", " ")):
        assert (
            refusal(verification.verify_standard, headers | {"webhook-signature": value}).reason == "SIGNATURE_MISMATCH"
        )


def test_svixs_names_serve_only_where_the_standards_are_not_there() -> None:
    right, wrong = by_svix(SECRET, BODY, NOW), by_standard(OTHER, BODY, NOW)
    check(verification.verify_standard, right)
    assert refusal(verification.verify_standard, right | wrong).reason == "SIGNATURE_MISMATCH"
    mixed = {"svix-id": "msg_1", "webhook-timestamp": str(NOW), "svix-signature": right["svix-signature"]}
    assert refusal(verification.verify_standard, mixed).reason == "SIGNATURE_MISSING"


def test_a_signature_is_never_valid_without_a_key() -> None:
    for scheme, sign in ALL:
        with pytest.raises(errors.SignatureMismatch):
            scheme(Headers(sign(SECRET, BODY, NOW).items()), BODY, [], NOW)
