"""How a worker reads a stream of bells: taskiq's broker, with a read as one message and without reclaiming."""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import redis.exceptions
from taskiq import AckableMessage, AsyncBroker, BrokerMessage, TaskiqFormatter, TaskiqMessage
from taskiq_redis import RedisStreamBroker

from services.delivery.worker.pace import Pace
from services.domain.doorbell import GROUP, ID_BYTES, IDS_PER_BELL, PAIR_BYTES, PROMPT, TASK, Stream, is_bell
from services.platform.stores import redis as redis_store
from services.platform.stores.redis import REDIS_AWAY, Client

READ_BLOCK_MILLISECONDS = 5000
# Messages of a read, which wait in their order in the worker.
READ_MESSAGES = 4
# What is read of the backlog is in the way of prompt deliveries that come next.
READ_BACKLOG_MESSAGES = 2
# At most, while the worker has room for what is in them: each read costs it several turns of its busy event loop.
READ_MESSAGES_IN_HASTE = 32


class _Formatter(TaskiqFormatter):
    """Writes and reads messages as their bells: taskiq's own form of them costs more than what they say."""

    def dumps(self, message: TaskiqMessage) -> BrokerMessage:
        """Return the bell of a message."""
        return BrokerMessage(
            task_id=message.task_id, task_name=message.task_name, message=message.args[0], labels=message.labels
        )

    def loads(self, message: bytes) -> TaskiqMessage:
        """Return a message with this bell; ValueError if it is none, which taskiq logs and acknowledges."""
        if not is_bell(message):
            text = "this is no bell"
            raise ValueError(text)
        return TaskiqMessage(task_id="", task_name=TASK, labels={}, args=[message], kwargs={})


class Broker(RedisStreamBroker):
    """taskiq's stream broker on a stream of bells, for one worker; the backlog is read at the worker's pace."""

    def __init__(
        self, client: Client, *, consumer_name: str, stream_name: str = PROMPT, pace: Pace | None = None
    ) -> None:
        # taskiq makes its pool of a URL; that of the process's client takes its place before anything connects.
        super().__init__(
            "redis://",
            queue_name=stream_name,
            consumer_group_name=GROUP,
            consumer_name=consumer_name,
            consumer_id="0",
            xread_block=READ_BLOCK_MILLISECONDS,
            xread_count=READ_MESSAGES if stream_name == PROMPT else READ_BACKLOG_MESSAGES,
        )
        self.connection_pool: Any = client.connection_pool
        self.stream = Stream(client, stream_name)
        self._is_prompt = stream_name == PROMPT
        self._pace = pace or Pace()
        self.formatter = _Formatter()
        # Of the last read, on average.
        self._ids_per_message = IDS_PER_BELL

    async def kick(self, message: BrokerMessage) -> None:
        """Add a message."""
        await self.stream.add(message.message)

    def read_for(self, room: int) -> None:
        """Read at once what so many ids are in, judged by the last read: what one worker has, no other one gets."""
        if not self._is_prompt:
            return
        self.count = max(READ_MESSAGES, min(READ_MESSAGES_IN_HASTE, room // self._ids_per_message))

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Yield what each read finds as one message, until cancelled; raise when Redis is away."""
        async with redis_store.waiting(self.stream.client, seconds=READ_BLOCK_MILLISECONDS / 1000) as own:
            while True:
                count = self.count
                if not self._is_prompt:
                    await asyncio.sleep(self._pace.rest_seconds)
                    # What is read at once is sent at once: while the backlog has a rate, that is little.
                    count = 1 if self._pace.is_bounded else count
                try:
                    fetched = await own.xreadgroup(
                        GROUP, self.consumer_name, {self.stream.name: ">"}, count=count, block=self.block
                    )
                except redis.exceptions.ResponseError as error:
                    if "NOGROUP" not in str(error):
                        raise
                    await self.stream.declare_group()
                    continue
                for _, messages in cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", fetched or []):
                    read = {message_id: fields.get(b"data", b"") for message_id, fields in messages}
                    bells = {message_id: said for message_id, said in read.items() if is_bell(said)}
                    if bells:
                        deliveries = sum(map(len, bells.values())) // PAIR_BYTES
                        self._ids_per_message = math.ceil(deliveries / len(bells))
                        self._keep_pace(bells, deliveries)
                        yield AckableMessage(data=b"".join(bells.values()), ack=self._ack(list(bells)))
                    # taskiq logs what is none, and acknowledges it.
                    for message_id in read.keys() - bells.keys():
                        yield AckableMessage(data=read[message_id], ack=self._ack([message_id]))

    def _keep_pace(self, bells: Mapping[bytes, bytes], deliveries: int) -> None:
        if not self._is_prompt:
            self._pace.took(deliveries)
            return
        first, said = next(iter(bells.items()))
        self._pace.heard(int(first.partition(b"-")[0]), UUID(bytes=said[PAIR_BYTES - ID_BYTES : PAIR_BYTES]))

    def _ack(self, message_ids: Sequence[bytes]) -> Callable[[], Awaitable[None]]:
        async def ack() -> None:
            # An ack that is lost leaves messages for the sweeper: no reason to fail their task.
            with contextlib.suppress(*REDIS_AWAY):
                await self.stream.acknowledge(message_ids)

        return ack

    async def shutdown(self) -> None:
        """End it; the connections are its client's."""
        await AsyncBroker.shutdown(self)
