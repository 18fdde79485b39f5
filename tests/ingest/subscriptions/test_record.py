"""The rules for a valid subscription."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.subscriptions.record import Draft
from services.platform import errors
from tests.ingest.conftest import draft

URL = "https://example.com/hook"


def _draft(
    target_url: str = URL,
    *,
    secret_key: str | None = None,
    event_types: list[str] | None = None,
    description: str = "",
) -> Draft:
    return draft(target_url, secret_key=secret_key, event_types=event_types or [], description=description)


def _fields(raised: pytest.ExceptionInfo[errors.InvalidArgument]) -> list[str]:
    return [violation.field for violation in raised.value.violations]


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "http://localhost:9000",
        "HTTPS://Example.COM/Hook?x=1&y=%20#z",
        "http://127.0.0.1:80/",
        "http://[::1]:8080/x",
        "http://[2001:db8::1]",
        "https://xn--mnchen-3ya.de/",
        "https://münchen.de/straße",
        "https://under_score.example.com./",
        "http://svc.namespace.svc.cluster.local:65535/a/b",
        "https://example.com/" + "a" * (2048 - 20),
        "https://example.com/a@b",
    ],
)
def test_a_good_url_is_kept_as_it_is(url: str) -> None:
    assert _draft(url).target_url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/x",
        "/hook",
        "ftp://example.com",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http:example.com",
        "http://",
        "http:///path",
        "http://:80/",
        "http://?x",
        "http://user@example.com",
        "http://user:pass@example.com",
        "http://:@example.com",
        "http://@example.com",
        "http://example.com:0",
        "http://example.com:65536",
        "http://example.com:port",
        "http://example.com:-1",
        "http://example.com:٨٠",
        "http://exa mple.com",
        " http://example.com",
        "http://example.com ",
        "http://example.com/a\nb",
        "http://example.com/\x00",
        "http://example.com/\x7f",
        "http://example.com\\@evil.com",
        "http://example.com/\u200b",
        "http://[::1",
        "http://[example.com]/",
        "http://[1.2.3.4]/",
        "http://::1/",
        "http://a..b/",
        "http://.a/",
        "http://./",
        "http://exa%6dple.com/",
        "http://ex*mple.com/",
        "http://" + "a" * 64 + ".com/",
        "http://e℀xample.com/",
        "https://example.com/" + "a" * (2049 - 20),
    ],
)
def test_a_bad_url_is_refused_and_named(url: str) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        _draft(url)
    assert _fields(raised) == ["target_url"]


@given(st.text(max_size=60))
def test_url_from_any_text_is_accepted_or_rejected(text: str) -> None:
    for url in (text, f"http://{text}", f"http://host/{text}", f"http://host:{text}"):
        try:
            assert _draft(url).target_url.lower().startswith(("http://", "https://"))
        except errors.InvalidArgument as refused:
            assert len(refused.message) < 400  # noqa: PT017 - one or the other


@pytest.mark.parametrize(
    "secret_key",
    [None, "8 bytes.", "s" * 256, "☃☃☃", "plain ☃ secret", "whsec_YWJjYWJjYWI=", "v1,whsec_YWJjYWJjYWI=", "WHSEC_§§"],
)
def test_a_good_secret_is_kept_as_it_is(secret_key: str | None) -> None:
    assert _draft(secret_key=secret_key).secret_key == secret_key


@pytest.mark.parametrize(
    "secret_key",
    [
        *("", "s" * 257, "secret\x00b", "7 bytes", " secret-s", "secret-s\n", "secret-s\r\n", "secret-s\u00a0"),
        *("whsec_", "whsec_a", "whsec_YWJj!", "whsec_YW Jj", "whsec_é", "whsec_====", "whsec_YWJjYWJjYQ=="),
        *("v1,whsec_", "v1,whsec_!", "v1,whsec_YWJjYWJjYQ=="),
    ],
)
def test_a_bad_secret_is_refused_and_named_and_not_repeated(secret_key: str) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        _draft(secret_key=secret_key)
    assert _fields(raised) == ["secret_key"]
    assert not secret_key or secret_key == "whsec_" or secret_key not in raised.value.message


def test_a_secret_does_not_show_in_the_representation_of_a_draft() -> None:
    assert "hunter2" not in repr(_draft(secret_key="hunter2-s3cret"))


@pytest.mark.parametrize("description", ["", "d" * 1024, "two\nlines ☃"])
def test_a_good_description_is_kept_as_it_is(description: str) -> None:
    assert _draft(description=description).description == description


@pytest.mark.parametrize("description", ["d" * 1025, "a\x00"])
def test_a_bad_description_is_refused_and_named(description: str) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        _draft(description=description)
    assert _fields(raised) == ["description"]


def test_invalid_fields_are_all_named_at_once() -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        _draft("ftp://x", secret_key="", event_types=["good", "bad type", "*"], description="\x00")
    assert _fields(raised) == ["target_url", "event_types.1", "event_types.2", "description", "secret_key"]
    assert all(field in raised.value.message for field in _fields(raised))


# -- controls --

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"rate_limit_per_second": 0.001}, []),
        ({"rate_limit_per_second": 100_000, "rate_limit_burst": 1_000_000}, []),
        ({"rate_limit_per_second": 1, "rate_limit_burst": 1}, []),
        ({"timeout_seconds": 1}, []),
        ({"timeout_seconds": 30}, []),
        ({"rate_limit_per_second": 0}, ["rate_limit_per_second"]),
        ({"rate_limit_per_second": 0.00099}, ["rate_limit_per_second"]),
        ({"rate_limit_per_second": 1e-16}, ["rate_limit_per_second"]),
        ({"rate_limit_per_second": 1e-300, "rate_limit_burst": 1_000_000}, ["rate_limit_per_second"]),
        ({"rate_limit_per_second": -1}, ["rate_limit_per_second"]),
        ({"rate_limit_per_second": NAN}, ["rate_limit_per_second"]),
        ({"rate_limit_per_second": INF}, ["rate_limit_per_second"]),
        ({"rate_limit_per_second": 100_001}, ["rate_limit_per_second"]),
        ({"rate_limit_burst": 5}, ["rate_limit_burst"]),
        ({"rate_limit_per_second": 1, "rate_limit_burst": 0}, ["rate_limit_burst"]),
        ({"rate_limit_per_second": 1, "rate_limit_burst": 1_000_001}, ["rate_limit_burst"]),
        ({"rate_limit_per_second": NAN, "rate_limit_burst": -1}, ["rate_limit_per_second", "rate_limit_burst"]),
        ({"timeout_seconds": 0.99}, ["timeout_seconds"]),
        ({"timeout_seconds": 30.01}, ["timeout_seconds"]),
        ({"timeout_seconds": NAN}, ["timeout_seconds"]),
        ({"timeout_seconds": INF}, ["timeout_seconds"]),
        ({"refused": [errors.Violation(field="retry_policy", description="is wrong")]}, ["retry_policy"]),
    ],
    ids=str,
)
def test_limits_and_timeouts_are_taken_or_refused_by_name(fields: dict[str, Any], at_fault: list[str]) -> None:
    try:
        draft(URL, **fields)
    except errors.InvalidArgument as refused:
        assert [violation.field for violation in refused.violations] == at_fault  # noqa: PT017 - one or the other
    else:
        assert at_fault == []
