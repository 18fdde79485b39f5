"""Valid values of REDIS_URL, and the errors for others."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import SSLConnection, parse_url

from services.platform.stores import redis_url

SECRET = "hunter2-s3cret"
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


def said_to_the_primary(found: redis_url.Guides) -> dict[str, Any]:
    return dict(parse_url(found.server_url))


def guides(url: str) -> redis_url.Guides:
    found = redis_url.parse(url)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://:p@h:6379/2",
        "rediss://u:p@h:6380/0?ssl_cert_reqs=none",
        "redis://[::1]:1",
        "unix:///tmp/x",
    ],
)
def test_a_url_of_one_server_names_nobody_to_ask(url: str) -> None:
    assert redis_url.parse(url) is None


def test_sentinel_url_is_parsed_completely() -> None:
    url = "redis+sentinel://u:p%40ss@one:1,two,[fd00::5]:3/the%20service/4?sentinel_password=q%26&socket_timeout=1"
    found = guides(url)
    assert found.addresses == (("one", 1), ("two", redis_url.SENTINEL_PORT), ("fd00::5", 3))
    assert (found.service_name, found.username, found.password) == ("the service", None, "q&")
    primary = said_to_the_primary(found)
    assert (primary["username"], primary["password"], primary["db"]) == ("u", "p@ss", 4)
    assert primary["socket_timeout"] == 1.0


@pytest.mark.parametrize("url", ["redis+sentinel://one/service", "redis+sentinel://one/service/"])
def test_database_defaults_to_the_first(url: str) -> None:
    assert said_to_the_primary(guides(url))["db"] == 0


def test_tls_reaches_the_primary() -> None:
    primary = said_to_the_primary(guides("rediss+sentinel://one/service?ssl_ca_certs=/ca.crt"))
    assert (primary["connection_class"], primary["ssl_ca_certs"]) == (SSLConnection, "/ca.crt")


@pytest.mark.parametrize("end", ["", "/", "/0", "?socket_timeout=1"])
def test_cluster_url_is_parsed_completely(end: str) -> None:
    found = guides(f"redis+cluster://u:p%40ss@one,[fd00::5]:7000{end}")
    assert found.addresses == (("one", redis_url.NODE_PORT), ("fd00::5", 7000))
    assert found.service_name is None
    server = said_to_the_primary(found)
    assert (server["username"], server["password"], server.get("db", 0)) == ("u", "p@ss", 0)
    assert server.get("socket_timeout") == (1.0 if "socket" in end else None)


@given(user=TEXT, password=TEXT, own=TEXT)
def test_users_and_passwords_of_any_text_are_parsed_exactly(user: str, password: str, own: str) -> None:
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    found = guides(f"redis+sentinel://{login}@one/service/0?sentinel_password={quote(own, safe='')}")
    primary = said_to_the_primary(found)
    assert (primary["username"], primary["password"], found.password) == (user, password, own)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"http://:{SECRET}@h", "must begin with"),
        (SECRET, "must begin with"),
        (f"redis://:{SECRET}@h:{SECRET}", "port"),
        (f"redis://:{SECRET}/@h", "percent-encoded"),
        (f"redis://:{SECRET}@h:65536", "port"),
        (f"redis+cluster://:{SECRET}@h:6379/1", "cannot select a database"),
        (f"redis+cluster://:{SECRET}@h?db=1", "cannot select a database"),
        (f"redis+cluster://:{SECRET}@h:0", "must list hosts"),
        (f"redis+cluster://:{SECRET}@", "must list hosts"),
        (f"redis+sentinel://:{SECRET}@one:26379", "must have the service name"),
        (f"redis+sentinel://:{SECRET}@one:26379/", "must have the service name"),
        (f"redis+sentinel://:{SECRET}@/service", "must list hosts"),
        (f"redis+sentinel://:{SECRET}@one/service/x", "must have the service name"),
        (f"redis+sentinel://:{SECRET}@one/service/0/1", "must have the service name"),
        (f"redis+sentinel://:{SECRET}@one,/service", "must list hosts"),
        (f"redis+sentinel://:{SECRET}@one:65536/service", "must list hosts"),
        (f"redis+sentinel://:{SECRET}@one:0/service", "must list hosts"),
        (f"redis+sentinel://:{SECRET}@fd00::5/service", "must list hosts"),
        (f"redis+sentinel://one/service?sentinel_pass={SECRET}", "sentinel_password"),
    ],
)
def test_a_wrong_url_is_refused_and_not_repeated(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        redis_url.parse(url)
    assert SECRET not in str(refused.value)


def test_passwords_are_not_in_the_representation() -> None:
    printed = repr(guides(f"redis+sentinel://:{SECRET}@one/service?sentinel_password={SECRET}"))
    assert SECRET not in printed
