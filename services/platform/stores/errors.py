"""What drivers raise when a store is away; errors.classify() makes Unavailable of it wherever this is imported."""

import asyncpg
import redis.exceptions

from services.platform import errors

# What drivers raise when a store is away, starting, stopping, read-only after a failover, or out of connections,
# memory or disk; or rolls a transaction back for a conflict (SQLSTATE class 40), which a repetition resolves.
# InterfaceError is asyncpg's for a connection that was closed under a statement, and InvalidCachedStatementError for a
# table that was migrated under a transaction.
STORE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidCachedStatementError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
)


def is_store_away(error: BaseException) -> bool:
    """Whether a store is away. asyncpg's InterfaceError that is also a ValueError is about our settings, or our use."""
    return isinstance(error, STORE_AWAY) and not isinstance(error, ValueError)


errors.add_unavailable(is_store_away)
