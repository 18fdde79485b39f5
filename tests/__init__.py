"""Tests: unit, integration, e2e, chaos."""

import os

# Before anything imports gRPC: as root, Postgres is started under another user, which forks; and gRPC's handlers of a
# fork crash a third of the children while calls are going on.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
