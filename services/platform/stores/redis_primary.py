"""Connections to the server that has our keys, where others are asked who it is: sentinels, or nodes of a cluster.

Each new connection asks. After a failover the old ones end, or hear that their server is not the one any more, which
counts as Redis being unreachable: the next command asks again.
"""

from typing import Any

import redis.asyncio
import redis.exceptions
from redis.asyncio.connection import BlockingConnectionPool, SSLConnection, parse_url
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.crc import key_slot

from services.platform.stores.redis_url import Guides

# What the names of our keys begin with. The braces are for clusters: they put everything of ours into one slot, and so
# on one node, where scripts, pipelines and streams work as on a server of its own. It is little, and bounded.
PREFIX = "{webhook}:"
# One who does not answer leaves time to ask the next; who answered is asked first from then on.
ASKING_TIMEOUT_SECONDS = 0.1


class PrimaryPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary, and with them those to whom is asked for it."""

    @classmethod
    def behind(cls, guides: Guides, options: dict[str, Any]) -> "PrimaryPool":
        """Create a pool whose connections have these options and those of the URL."""
        options = options | parse_url(guides.server_url)
        del options["host"]
        tls = options.pop("connection_class", None) is SSLConnection
        asking = {
            **{name: value for name, value in options.items() if name.startswith("ssl_")},
            "ssl": tls,
            "socket_timeout": ASKING_TIMEOUT_SECONDS,
            "socket_connect_timeout": ASKING_TIMEOUT_SECONDS,
            "retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
        }
        if guides.service_name is None:
            asking |= {name: options[name] for name in ("username", "password") if name in options}
            nodes = _Nodes(guides.addresses, asking)
            return cls("", nodes, connection_class=_TlsNodeConnection if tls else _NodeConnection, **options)
        asking |= {"username": guides.username, "password": guides.password}
        sentinel: Any = Sentinel  # untyped in redis-py
        sentinels = sentinel(guides.addresses, sentinel_kwargs=asking)
        connection_class = SentinelManagedSSLConnection if tls else SentinelManagedConnection
        return cls(guides.service_name, sentinels, connection_class=connection_class, **options)

    async def aclose(self) -> None:
        """Close all of them."""
        await super().aclose()
        await self.sentinel_manager.aclose()


class _Nodes:
    """Some nodes of a cluster, asked as redis-py asks sentinels."""

    def __init__(self, addresses: tuple[tuple[str, int], ...], options: dict[str, Any]) -> None:
        self._slot = key_slot(PREFIX.encode())
        self._nodes = [(host, redis.asyncio.Redis(host=host, port=port, **options)) for host, port in addresses]

    async def discover_master(self, _: str) -> tuple[str, int]:
        """Host and port of the node that has our slot."""
        errors = []
        for asked in tuple(self._nodes):
            host, node = asked
            try:
                ranges: Any = await node.cluster("SLOTS")
            except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
                errors.append(f"{host}: {error}")
                continue
            self._nodes.sort(key=lambda other: other is not asked)
            for first, last, (primary, port, *_), *_ in ranges:
                if first <= self._slot <= last:
                    # A node that does not know its own name leaves it out.
                    return (primary or b"").decode().strip("?") or host, port
            errors.append(f"{host}: nobody has slot {self._slot}")
        raise MasterNotFoundError(f"no node of the cluster knows the primary for these keys: {', '.join(errors)}")

    async def aclose(self) -> None:
        """Close the connections."""
        for _, node in self._nodes:
            await node.aclose()


class _NodeConnection(SentinelManagedConnection):
    """One that ends when its node says that another has our slot."""

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*arguments, **options)
        except redis.exceptions.AskError as error:  # MOVED is one
            await self.disconnect()
            raise redis.exceptions.ConnectionError("the primary in the cluster changed") from error


class _TlsNodeConnection(_NodeConnection, SentinelManagedSSLConnection):
    """The same over TLS."""
