"""The name server beside a program without an event loop, and roles that ask it."""

import asyncio
import subprocess
import sys

import pytest

from dev.harness.network import nameserver
from dev.harness.stack import ROOT
from services.delivery.destinations.http import resolver

# What `python -m dev.harness.network.resolving 5353 --help` does, and then what the resolver is set to.
RESOLVING = """
import sys
sys.argv = ["resolving", "5353", "--help"]
from dev.harness.network import resolving
resolving.main()
from services.delivery.destinations.http import resolver
print(dict(resolver.CONFIGURATION))
"""


async def test_beside_answers_for_the_names_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    with nameserver.beside() as server:
        server.hang("*")
        server.say("*.quiet.example", "127.0.0.1")
        monkeypatch.setattr(resolver, "CONFIGURATION", server.configuration)
        lookups = resolver.Lookups()
        try:
            found = await lookups.addresses("receiver-1.quiet.example")
            hanging = asyncio.ensure_future(lookups.addresses("receiver.hanging.example"))
            done, _ = await asyncio.wait({hanging}, timeout=0.1)
            hanging.cancel()
        finally:
            await lookups.close()

    assert found == ["127.0.0.1"]
    assert not done


def test_resolving_runs_a_role_with_the_name_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESOLVING], check=True, cwd=ROOT, capture_output=True, text=True, timeout=120
    )

    assert done.stdout.startswith("usage: python -m services")
    assert done.stdout.splitlines()[-1] == "{'nameservers': ['127.0.0.1'], 'udp_port': 5353, 'tcp_port': 5353}"
