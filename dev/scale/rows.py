"""Makes deliveries by SQL as a service has them that runs for two days: of several tenants, in every state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.platform import ids
from services.platform.stores.postgres import Connection
from services.platform.stores.sql import Queries

SQL = Queries("dev.scale")

SPAN = timedelta(hours=48)
# Of tenant 'default'; of each other tenant there are fewer.
SUBSCRIPTIONS = 200
OTHERS = 4
SUBSCRIPTIONS_OF_OTHERS = 5
AT_ONCE = 100_000
STATEMENT_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What searches name."""

    number: int
    from_time: datetime
    # Of tenant 'default', from the one with the most deliveries to the one with the fewest.
    subscriptions: Sequence[UUID]

    @property
    def down(self) -> UUID:
        """The subscription whose receiver was down from DOWN_FROM to DOWN_TO of the time."""
        return self.subscriptions[0]

    @property
    def paused(self) -> UUID:
        """The subscription that is paused."""
        return self.subscriptions[3]

    def at(self, part: float) -> datetime:
        """Return the time at a part of the whole, from 0 to 1."""
        return self.from_time + part * SPAN


def is_of_default(number: int) -> bool:
    """Return whether the delivery of this number is of tenant 'default', as insert_deliveries decides it."""
    return number * 2_654_435_761 % 1_000_003 / 1_000_003 < 0.8  # noqa: PLR2004


async def make(connection: Connection, number: int, *, target_url: str, say: Callable[[str], None]) -> Made:
    """Make so many deliveries, and what belongs to them."""
    made = Made(
        number=number,
        # Not so late that anything is accepted in the future. Whole seconds, as ids have no more than milliseconds.
        from_time=datetime.now(UTC).replace(microsecond=0) - SPAN - timedelta(seconds=1),
        subscriptions=[ids.new() for _ in range(SUBSCRIPTIONS)],
    )
    tenants = [f"other-{place}" for place in range(OTHERS)]
    # Both are taken in turn, so that a number stands for a tenant and one of its own subscriptions.
    others = [ids.new() for _ in range(OTHERS * SUBSCRIPTIONS_OF_OTHERS)]
    await connection.execute(SQL["make_partitions"], made.from_time)
    await connection.execute(SQL["insert_tenants"], tenants)
    owners = ["default"] * SUBSCRIPTIONS + tenants * SUBSCRIPTIONS_OF_OTHERS
    names = [*made.subscriptions, *others]
    await connection.execute(SQL["insert_subscriptions"], names, owners, target_url, [made.paused])
    for first in range(1, number + 1, AT_ONCE):
        last = min(first + AT_ONCE - 1, number)
        await connection.execute(
            SQL["insert_deliveries"],
            first, last, number, made.from_time, SPAN.total_seconds(), made.subscriptions, others, tenants,
            timeout=STATEMENT_TIMEOUT_SECONDS,
        )  # fmt: skip
        if last % (10 * AT_ONCE) == 0:
            say(f"{last:,} deliveries are made")
    await connection.execute(SQL["analyze"], timeout=STATEMENT_TIMEOUT_SECONDS)
    return made
