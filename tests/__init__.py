"""Tests: unit, integration, e2e, chaos."""

import os

# Set before anything imports gRPC. As root, Postgres is started under another user, which forks, and gRPC's fork
# handlers crash a third of the children while calls are in progress.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Without this, httpx, urllib, and gRPC channels of the tests would use these proxies for receivers on this machine.
for _name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
    for _spelling in (_name, _name.upper()):
        os.environ.pop(_spelling, None)
