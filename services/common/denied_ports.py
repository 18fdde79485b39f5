"""Ports that no webhook goes to: what listens there is no receiver, and may take a request for orders."""

from services.common.targets import MAX_PORT

# What browsers refuse, so that no page makes them speak to a mail server (Fetch Standard, 2.9, port blocking); but for
# tcpmux (1) and discard (9), which do nothing with what they get.
_OF_BROWSERS = (
    *(7, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109),
    *(110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530),
    *(531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190),
    *(5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
)
_OF_STORES = (
    *(1433, 1521, 3306, 5432, 9042, 27017, 27018, 27019),  # SQL Server, Oracle, MySQL, Postgres, Cassandra, MongoDB
    *(6379, 11211, 9200, 9300, 5672, 9092),  # Redis, memcached, Elasticsearch, AMQP, Kafka
)
_OF_MACHINES = (
    *(445, 873, 3389, 5900, 5985, 5986),  # SMB, rsync, RDP, VNC, WinRM
    *(2375, 2376, 2379, 2380, 6443, 10250, 10255),  # Docker, etcd, the API of Kubernetes, kubelets
)
DEFAULT = frozenset((*_OF_BROWSERS, *_OF_STORES, *_OF_MACHINES))


def parse(text: str) -> frozenset[int]:
    """From "none", or ports separated by commas, among which "default" is DEFAULT; ValueError naming a wrong one."""
    denied: set[int] = set()
    for part in (part.strip() for part in text.split(",")):
        if part == "default":
            denied |= DEFAULT
        elif part.isascii() and part.isdecimal() and 1 <= int(part) <= MAX_PORT:
            denied.add(int(part))
        elif part and text.strip() != "none":
            raise ValueError(f"EGRESS_DENY_PORTS: {part!r} is no port")
    return frozenset(denied)
