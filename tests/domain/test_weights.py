"""What a process knows of the weights of tenants, from a real Postgres."""

from dev.harness.waiting import wait_until
from services.domain.tenants import weights
from services.domain.tenants.weights import Weights
from services.platform.process.lifecycle import Process
from services.platform.settings import PostgresSettings
from services.platform.stores import postgres


async def test_a_weight_is_read_when_it_is_used_and_read_again_when_it_is_not_fresh(database: str) -> None:
    settings = PostgresSettings(database_url=database)
    async with postgres.pool(Process("test"), settings) as pool, weights.of_process(Process("test"), pool) as known:
        await pool.execute("INSERT INTO tenants (id, name, weight) VALUES ('heavy', 'Heavy', 3), ('light', 'Light', 1)")
        assert known.of("heavy") == 1  # nobody waits for the first look
        await wait_until(lambda: known.of("heavy") == 3, what="the weight to be read")
        assert (known.of("light"), known.of("nobody")) == (1, 1)
        await pool.execute("UPDATE tenants SET weight = 7 WHERE id = 'heavy'")
        await wait_until(lambda: known.of("heavy") == 7, what="the new weight to be read")


async def test_known_weights_stay_while_postgres_is_away(database: str) -> None:
    async with postgres.pool(Process("test"), PostgresSettings(database_url=database)) as pool:
        known = Weights(pool)
        await pool.execute("INSERT INTO tenants (id, name, weight) VALUES ('heavy', 'Heavy', 3)")
        await known.refresh()
    await known._read()  # of a pool that is closed
    assert known.of("heavy") == 3
    await known.close()
