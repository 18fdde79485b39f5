"""Run a role of the service whose names are resolved by a given name server.

    python -m dev.harness.network.resolving PORT ROLE

No setting names a server, because the machine's own are the right ones everywhere but here.
"""

import runpy
import sys

from services.delivery.destinations.http import resolver


def main() -> None:
    """Replace the configuration, and run the role in this process."""
    port = int(sys.argv.pop(1))
    resolver.CONFIGURATION = {"nameservers": ["127.0.0.1"], "udp_port": port, "tcp_port": port}
    sys.argv[0] = "services"
    runpy.run_module("services", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
