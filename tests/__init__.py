"""Tests: unit, integration, e2e, chaos."""

import os

# Before anything imports gRPC: as root, Postgres is started under another user, which forks; and gRPC's handlers of a
# fork crash a third of the children while calls are going on.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# httpx, urllib and gRPC channels of the tests themselves would go through these, to receivers on this machine.
for _name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
    for _spelling in (_name, _name.upper()):
        os.environ.pop(_spelling, None)
