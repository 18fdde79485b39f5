"""A PgBouncer in transaction mode in front of the Postgres of a test run, where the program is installed."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from dev.embedded import account as accounts
from dev.embedded import ports, wheel
from dev.embedded.child import Child, Command
from dev.harness.stores import Stores
from dev.harness.waiting import wait_until

# On PATH, or as `python3 scripts/tools.py pgbouncer` fetches it.
FETCHED = Path(__file__).resolve().parents[2] / ".tools/bin"
PROGRAM = shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", str(FETCHED))))

CONFIGURATION = """
[databases]
* = host={socket_folder} port={postgres_port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = 200
"""
TLS = """
client_tls_sslmode = require
client_tls_cert_file = {certificate}
client_tls_key_file = {certificate}
"""


@contextlib.asynccontextmanager
async def pooling(stores: Stores, *, servers: int, certificate: Path | None = None) -> AsyncIterator[int]:
    """PgBouncer as it comes, but with so few servers to a database that clients must share them; its port.

    With a certificate, which has its key beside it in the file, it takes TLS alone.
    """
    assert PROGRAM
    folder, port = Path(tempfile.mkdtemp(prefix="pooler-")), ports.free_port()
    configuration = folder / "pgbouncer.ini"
    text = CONFIGURATION.format(
        socket_folder=stores.postgres.socket_folder,
        postgres_port=stores.postgres.port,
        user=wheel.OWNER,
        port=port,
        servers=servers,
    )
    if certificate:
        text += TLS.format(certificate=shutil.copy(certificate, folder))
    configuration.write_text(text)
    # It refuses root as Postgres does, and the socket is open to Postgres's own user alone.
    account = accounts.for_postgres(lambda _: None)
    if account:
        account.take(folder)
    command = Command(
        name="pgbouncer",
        arguments=[PROGRAM, str(configuration)],
        log_path=folder / "log",
        environment=wheel.ENVIRONMENT,
        account=account,
    )
    child = Child(command)
    child.launch()
    try:
        await wait_until(lambda: _answers(child, port), what="PgBouncer to listen")
        yield port
    finally:
        child.stop()
        shutil.rmtree(folder)


async def _answers(child: Child, port: int) -> bool:
    assert child.running, child.last_lines()
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
