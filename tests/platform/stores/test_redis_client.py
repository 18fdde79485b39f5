"""Connections to Redis: their parameters, and how their loss is classified."""

from pathlib import Path
from typing import Any

import pytest
import uvloop
from pydantic import ValidationError
from redis.asyncio.connection import SSLConnection

from dev.harness import certificates
from services.platform.settings import RedisSettings
from services.platform.stores import redis, redis_primary


def pool_of(url: str) -> Any:
    return redis.connect(RedisSettings(redis_url=url, _env_file=None), timeout_seconds=1.5, name="name").connection_pool


@pytest.mark.parametrize("url", ["rediss://one/1", "rediss+sentinel://one/service/1", "rediss+cluster://one"])
def test_certificates_are_checked_with_the_authority_that_the_url_names(url: str) -> None:
    connection = pool_of(f"{url}?ssl_ca_certs=/ca.crt").make_connection()
    assert isinstance(connection, SSLConnection)
    assert (connection.ca_certs, connection.cert_reqs.name, connection.check_hostname) == (
        "/ca.crt",
        "CERT_REQUIRED",
        True,
    )


@pytest.mark.parametrize(
    "url",
    ["rediss://:p@one/1", "rediss://one?db=1", "rediss+sentinel://one/service/1", "rediss+cluster://one"],
)
def test_certificates_are_checked_with_the_authority_of_a_file(url: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    path.write_text(certificates.authority().pem)
    for asked, expected in ((url, str(path)), (f"{url}{'&' if '?' in url else '?'}ssl_ca_certs=/own.crt", "/own.crt")):
        settings = RedisSettings(redis_url=asked, redis_ca_file=str(path), _env_file=None)
        pool: Any = redis.connect(settings).connection_pool
        connection = pool.make_connection()
        assert (connection.ca_certs, connection.cert_reqs.name, connection.check_hostname) == (
            expected,
            "CERT_REQUIRED",
            True,
        )


@pytest.mark.parametrize(
    ("url", "content", "why"),
    [
        ("redis://one", "certificate", "requires TLS"),
        ("", "certificate", "requires TLS"),
        ("rediss://one", "nothing", "must be a file of PEM certificates"),
        ("rediss://one", None, "must be a file of PEM certificates: No such file"),
    ],
)
def test_an_authority_that_cannot_be_used_is_refused(url: str, content: str | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(certificates.authority().pem if content == "certificate" else content)
    with pytest.raises(ValidationError, match=why):
        RedisSettings(redis_url=url, redis_ca_file=str(path), _env_file=None)


def test_sentinels_are_reached_over_tls_with_their_own_user() -> None:
    url = "rediss+sentinel://u:p@one:1,two:2/service?ssl_ca_certs=/ca.crt&sentinel_username=s&sentinel_password=q"
    for asked in pool_of(url).sentinel_manager.sentinels:
        connection = asked.connection_pool.make_connection()
        assert isinstance(connection, SSLConnection)
        assert (connection.ca_certs, connection.username, connection.password) == ("/ca.crt", "s", "q")
        assert connection.socket_timeout == redis_primary.ASKING_TIMEOUT_SECONDS


def test_the_password_of_the_servers_is_not_shown_to_sentinels() -> None:
    for asked in pool_of("redis+sentinel://u:p@one/service").sentinel_manager.sentinels:
        connection = asked.connection_pool.make_connection()
        assert not isinstance(connection, SSLConnection)
        assert (connection.username, connection.password) == (None, None)


@pytest.mark.parametrize("url", ["redis://one/1", "redis+sentinel://one/service/1", "redis+cluster://one"])
def test_a_pool_has_the_bounds_that_it_was_asked_for(url: str) -> None:
    pool = pool_of(url)
    connection = pool.make_connection()
    assert (pool.max_connections, connection.socket_timeout) == (redis.MAX_CONNECTIONS, 1.5)
    assert connection.client_name == "name"
    assert connection.socket_connect_timeout == redis.TIMEOUT_SECONDS


def test_a_connection_that_was_closed_under_a_command_counts_as_away(redis_url: str) -> None:
    """On uvloop, which the processes use, this is a RuntimeError, which must not end background tasks."""

    async def command() -> BaseException | None:
        client = redis.connect(RedisSettings(redis_url=redis_url))
        pool: Any = client.connection_pool
        connection = pool.make_connection()
        await connection.connect()
        connection._writer.transport.abort()
        try:
            await connection.send_command("PING")
        except BaseException as error:  # noqa: BLE001 - which one it is, is the question
            return error
        finally:
            await connection.disconnect()
            await client.aclose()
        return None

    error = uvloop.run(command())
    assert isinstance(error, redis.REDIS_AWAY), repr(error)
