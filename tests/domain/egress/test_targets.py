"""Target URLs have only one reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.egress import targets


@pytest.mark.parametrize(
    ("url", "tls", "host", "port", "authority", "path"),
    [
        ("http://a.example", False, "a.example", 80, "a.example", "/"),
        ("HTTPS://A.Example:8443/Hook?x=1&y=%20#z", True, "a.example", 8443, "a.example:8443", "/Hook?x=1&y=%20"),
        ("http://a.example:80?x", False, "a.example", 80, "a.example", "/?x"),
        ("https://a.example:443", True, "a.example", 443, "a.example", "/"),
        ("https://a.example:80/", True, "a.example", 80, "a.example:80", "/"),
        ("http://a.example:/x", False, "a.example", 80, "a.example", "/x"),
        ("http://a.example./x", False, "a.example.", 80, "a.example", "/x"),
        ("http://a.example//b/../c", False, "a.example", 80, "a.example", "//b/../c"),
        ("http://[2A00:0::1]:8080/", False, "2a00::1", 8080, "[2a00::1]:8080", "/"),
        ("http://[::ffff:127.0.0.1]/", False, "::ffff:7f00:1", 80, "[::ffff:7f00:1]", "/"),
        ("https://m\u00fcnchen.example/\u00fc?\u00f6", True, "xn--mnchen-3ya.example", 443, "xn--mnchen-3ya.example",
         "/%C3%BC?%C3%B6"),
        # ASCII next to other characters is kept as it is.
        ("http://a.example/\u00fc/a%7Eb/../c?sig=%7e&e=", False, "a.example", 80, "a.example",
         "/%C3%BC/a%7Eb/../c?sig=%7e&e="),
        ("http://a.example/\u4e2d%zz|{}^`\"'<>+;@,=~?", False, "a.example", 80, "a.example",
         "/%E4%B8%AD%zz|{}^`\"'<>+;@,=~?"),
        ("http://a.example/%7Eb?x=%22y%22&z=a+b%2B|", False, "a.example", 80, "a.example",
         "/%7Eb?x=%22y%22&z=a+b%2B|"),
        ("http://m\u00fcnchen.example/a%7Eb/../c", False, "xn--mnchen-3ya.example", 80, "xn--mnchen-3ya.example",
         "/a%7Eb/../c"),
        ("http://\u4f8b\u3048.\u30c6\u30b9\u30c8/?\U0001f600", False, "xn--r8jz45g.xn--zckzah", 80,
         "xn--r8jz45g.xn--zckzah", "/?%F0%9F%98%80"),
        ("http://\uff11\uff12\uff17.0.0.1/", False, "127.0.0.1", 80, "127.0.0.1", "/"),
        ("http://127\u30020\u30020\u30021/", False, "127.0.0.1", 80, "127.0.0.1", "/"),
        ("http://\u2460\u2461\u2466.1/", False, "127.1", 80, "127.1", "/"),
        ("http://\uff4cocalhost/", False, "localhost", 80, "localhost", "/"),
    ],
)  # fmt: skip
def test_a_url_leads_where_it_says(url: str, tls: bool, host: str, port: int, authority: str, path: str) -> None:  # noqa: FBT001 - a parameter
    assert targets.parse(url) == targets.TargetUrl(tls, host, port, authority, path)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "is required"),
        ("http://a.example/" + "x" * 2040, "at most 2048"),
        ("http://a.example/\r\nX: y", "without spaces, control characters"),
        ("http://a.example\x00.example/", "without spaces, control characters"),
        ("http://a.example\\@b.example/", "without spaces, control characters or backslashes"),
        ("ftp://a.example/", "must begin with http"),
        ("http:/a.example/", "must begin with http"),
        ("http:\u2215\u2215a.example/", "must begin with http"),
        ("http://a@b.example/", "must not contain credentials"),
        ("http://a.example%00.b.example/", "percent-encoding"),
        ("http://%31%32%37.0.0.1/", "percent-encoding"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http:///x", "must have a host"),
        ("http://:80/", "must have a host"),
        ("http://a.example:0/", "a port from 1 to 65535"),
        ("http://a.example:65536/", "a port from 1 to 65535"),
        ("http://a.example:80:80/", "must have a host"),
        ("http://a.example:\uff18\uff10/", "must have a host"),
        ("http://[::1]x/", "must have a host"),
        ("http://[[::1]]/", "must have a host"),
        ("http://[::1/", "must have a host"),
        ("http://[127.0.0.1]/", "no IPv6 address"),
        ("http://[v1.a]/", "no IPv6 address"),
        ("http://::1/", "must have a host"),
        ("http://a..example/", "no valid host"),
        ("http://.example/", "no valid host"),
        ("http://a_b*.example/", "no valid host"),
        ("http://a,b.example/", "no valid host"),
        ("http://" + ".".join(["a" * 60] * 5) + "/", "no valid host"),
    ],
)
def test_url_that_would_need_repair_is_rejected_with_the_reason(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        targets.parse(url)


@given(st.text(max_size=40))
def test_accepted_urls_always_make_a_valid_request_line(text: str) -> None:
    for url in (f"http://{text}", f"https://a.example/{text}", f"http://{text}.example:80/"):
        try:
            target = targets.parse(url)
        except ValueError:
            continue
        line = f"POST {target.path} HTTP/1.1"
        assert line.isascii()
        assert line.isprintable()
        assert line.count(" ") == 2
        assert target.host == target.host.lower()
        assert targets.parse(f"http://{target.authority}{target.path}").path == target.path
