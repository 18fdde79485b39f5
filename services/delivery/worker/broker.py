"""How a worker reads the stream of bells: taskiq's broker, with batched acks and without reclaiming."""

import contextlib
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import cast
from uuid import UUID

import redis.exceptions
from taskiq import AckableMessage, BrokerMessage
from taskiq_redis import RedisStreamBroker

from services.domain.doorbell import GROUP, STREAM, Stream, heard
from services.platform.process.batching import Batcher, Bounds
from services.platform.settings import RedisSettings
from services.platform.stores.redis import REDIS_AWAY

READ_BLOCK_MILLISECONDS = 2000
# Messages of a read, which wait in their order in the worker.
READ_MESSAGES = 4


class Broker(RedisStreamBroker):
    """taskiq's stream broker on the stream of bells, for one worker."""

    def __init__(self, settings: RedisSettings, *, socket_timeout: float, consumer_name: str) -> None:
        # taskiq makes its pool of a URL, which can only name a server; ours takes its place before anything connects.
        super().__init__(
            "redis://",
            queue_name=STREAM,
            consumer_group_name=GROUP,
            consumer_name=consumer_name,
            consumer_id="0",
            xread_block=READ_BLOCK_MILLISECONDS,
            xread_count=READ_MESSAGES,
        )
        self.stream = Stream(settings, socket_timeout=socket_timeout)
        self.connection_pool = self.stream.connections
        self._acks: Batcher[bytes, None] = Batcher(
            "acks", self.stream.acknowledge, Bounds(batch_items=500, waiting_items=10_000)
        )
        self._read: deque[tuple[bytes, dict[bytes, bytes]]] = deque()

    async def kick(self, message: BrokerMessage) -> None:
        """Add a message."""
        await self.stream.add(message.message)

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Yield messages until cancelled; raise when Redis is away."""
        while True:
            try:
                fetched = await self.stream.client.xreadgroup(
                    GROUP, self.consumer_name, {STREAM: ">"}, count=self.count, block=self.block
                )
            except redis.exceptions.ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                await self.stream.declare_group()
                continue
            for _, messages in cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", fetched or []):
                self._read.extend(messages)
            while self._read:
                message_id, fields = self._read.popleft()
                # taskiq logs and acknowledges messages that are not ours.
                yield AckableMessage(data=fields.get(b"data", b""), ack=self._ack(message_id))

    def unheard(self) -> list[UUID]:
        """Return the deliveries of messages that were read but not handed to a task: for a worker that stops."""
        found: list[UUID] = []
        for _, fields in self._read:
            with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):  # no bell of ours
                found += itertools.chain(*heard(self.formatter.loads(fields[b"data"]).args[0]).values())
        return found

    def _ack(self, message_id: bytes) -> Callable[[], Awaitable[None]]:
        async def ack() -> None:
            # An ack that is lost leaves a message for the sweeper: no reason to fail its task.
            with contextlib.suppress(*REDIS_AWAY):
                await self._acks.submit(message_id)

        return ack

    async def shutdown(self) -> None:
        """Close the connections."""
        await super().shutdown()
        await self.stream.close()
