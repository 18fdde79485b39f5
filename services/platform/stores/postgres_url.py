"""A connection URL of Postgres, with the parameters of libpq that providers hand out.

asyncpg reads some of them, and sends every other one to the server as a setting, which refuses the connection with an
error that does not say why. So each parameter is honored here, or left to asyncpg, or refused by its name.

    left to asyncpg   user, password, passfile, dbname, host, port, ssl*, target_session_attrs, krbsrvname, gsslib
    honored here      connect_timeout, keepalives*, tcp_user_timeout, application_name, options, load_balance_hosts,
                      several hosts one after the other, sslrootcert=system
    without effect    channel_binding, gssencmode and the like, where their value asks for no more than what is done
    refused           everything else
"""

import random
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

DEFAULT_PORT = 5432
MAX_PORT = 65_535
_URL = re.compile(
    r"(?P<scheme>postgres(?:ql)?)://(?:(?P<login>[^@/?#]*)@)?(?P<hosts>[^@/?#]*)"
    r"(?P<database>/[^?#]*)?(?:\?(?P<parameters>[^#]*))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+(?:%[\w.]+)?\]|[^\s:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
# Of asyncpg, which reads them from the URL.
_LEFT = frozenset(
    {
        *("user", "password", "passfile", "dbname", "database", "krbsrvname", "gsslib", "sslmode", "sslcert", "sslkey"),
        *("sslpassword", "sslrootcert", "sslcrl", "sslnegotiation", "ssl_min_protocol_version"),
        *("ssl_max_protocol_version", "target_session_attrs"),
    }
)
# Those of libpq's variables that asyncpg reads, by the parameter that wins over each.
_VARIABLES = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# The values that are possible, of parameters that have few.
_ONE_OF = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    # The service writes.
    "target_session_attrs": ("any", "primary", "read-write"),
    "load_balance_hosts": ("disable", "random"),
    "keepalives": ("0", "1"),
    # Nothing of it is done, so that only what does not ask for it can be honored.
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "gssdelegation": ("0",),
    "replication": ("false", "off", "no", "0"),
    "sslcompression": ("0",),
    "sslsni": ("1",),
    "sslcertmode": ("allow",),
    "client_encoding": ("utf8", "UTF8", "utf-8", "UTF-8", "auto"),
}
_HINTS = {
    "channel_binding": "remove it, and use sslmode=verify-full",
    "ssl": "write sslmode=require, or sslmode=verify-full",
    "hostaddr": "write the address as the host",
    "pgbouncer": "remove it, and set POSTGRES_POOLER=transaction",
    "schema": "write options=-c%20search_path%3DNAME",
}
_WHOLE = ("connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
_OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)\s*=")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a URL says."""

    # The URL as asyncpg is to read it.
    dsn: str = field(repr=False)
    # More than one, or none: the URL names one, or the default is meant.
    hosts: tuple[tuple[str, int], ...]
    shuffled: bool
    # The authorities of the operating system vouch for the server.
    system_authorities: bool
    # Of connecting to one host; None for the caller's.
    connect_timeout_seconds: float | None
    application_name: str | None
    # Command-line options of the server's process for this session, such as "-c search_path=webhook".
    options: str | None
    socket_options: tuple[tuple[int, int, int], ...]

    def attempts(self) -> Sequence[Mapping[str, Any]]:
        """Return the arguments of asyncpg.connect for each host, in the order in which they are tried."""
        if not self.hosts:
            return [{}]
        hosts = random.sample(self.hosts, len(self.hosts)) if self.shuffled else self.hosts
        return [{"host": host, "port": port} for host, port in hosts]

    def given(self) -> frozenset[str]:
        """Return the names of the server's settings that the URL's options set."""
        return frozenset(name.lower().replace("-", "_") for name in _OPTION.findall(self.options or ""))


def parse(url: str, environment: Mapping[str, str]) -> Target:
    """Read a URL, and the variables of libpq that complete it. ValueError, which repeats no secret, for a wrong one."""
    said = _URL.fullmatch(url)
    if said is None:
        raise ValueError(
            "must look like postgresql://user:password@host:5432/database?sslmode=require, with special characters "
            "written as %XX (@ is %40, / is %2F, # is %23)"
        )
    parameters = _parameters(said["parameters"] or "")
    for name, variable in _VARIABLES.items():
        if environment.get(variable):
            parameters.setdefault(name, environment[variable])
    _check(parameters)
    hosts = _hosts(said["hosts"], parameters)
    if len(hosts) > 1:
        # Whichever of them takes writes.
        parameters.setdefault("target_session_attrs", "primary")
    if parameters.get("target_session_attrs") == "read-write":
        # The same here, and true of a primary whose sessions are read-only by default, which ours are not.
        parameters["target_session_attrs"] = "primary"
    system = parameters.get("sslrootcert") == "system"
    if system and parameters.setdefault("sslmode", "verify-full") != "verify-full":
        raise ValueError("sslrootcert=system requires sslmode=verify-full")
    left = {name: value for name, value in parameters.items() if name in _LEFT}
    if system:
        left = {name: value for name, value in left.items() if not name.startswith("ssl")}
    if not said["hosts"] and len(hosts) == 1:
        left |= {"host": hosts[0][0], "port": str(hosts[0][1])}
    login = f"{said['login']}@" if said["login"] else ""
    named = said["hosts"] if len(hosts) < 2 else ""  # noqa: PLR2004 - several are tried from here
    query = urlencode(left, quote_via=quote, safe="/")
    timeout = int(parameters.get("connect_timeout", "0"))
    return Target(
        dsn=f"{said['scheme']}://{login}{named}{said['database'] or ''}" + ("?" * bool(query)) + query,
        hosts=tuple(hosts) if len(hosts) > 1 else (),
        shuffled=parameters.get("load_balance_hosts") == "random",
        system_authorities=system,
        # As in libpq, where 0 is no limit of its own.
        connect_timeout_seconds=float(timeout) if timeout > 0 else None,
        application_name=parameters.get("application_name") or parameters.get("fallback_application_name"),
        options=parameters.get("options"),
        socket_options=tuple(_socket_options(parameters)),
    )


def _parameters(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text.replace("+", "%2B"), keep_blank_values=True, strict_parsing=True) if text else []
    except ValueError:
        raise ValueError("the part after ? must be name=value, separated by &") from None
    # As in libpq, the last one counts.
    return dict(pairs)


def _check(parameters: Mapping[str, str]) -> None:
    known = {*_LEFT, *_ONE_OF, *_WHOLE, "host", "port", "application_name", "fallback_application_name", "options"}
    for name, value in parameters.items():
        hint = f"; {_HINTS[name]}" if name in _HINTS else ""
        if name not in known:
            raise ValueError(f"parameter {name[:64]} is not supported{hint}")
        if name in _ONE_OF and value not in _ONE_OF[name]:
            raise ValueError(f"parameter {name} must be {' or '.join(_ONE_OF[name])}, got {value[:64]!r}{hint}")
        if name in _WHOLE and not re.fullmatch("[0-9]{1,9}", value):
            raise ValueError(f"parameter {name} must be a whole number, got {value[:64]!r}")
        if name in _FILES and value and value != "system" and not Path(value).is_file():
            raise ValueError(f"parameter {name}: file {value} not found")


def _hosts(listed: str, parameters: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return hosts with their ports: those before the path, else those of the parameters."""
    entries = listed.split(",") if listed else [entry for entry in parameters.get("host", "").split(",") if entry]
    ports = [port for port in parameters.get("port", "").split(",") if port]
    if len(ports) not in {0, 1, len(entries)} and entries:
        raise ValueError("parameter port must be one number, or one per host")
    hosts = []
    for number, entry in enumerate(entries):
        decoded = unquote(entry) if listed else entry
        if decoded.startswith("/"):
            host, port = decoded, None
        else:
            said = _HOST.fullmatch(decoded)
            if said is None:
                raise ValueError("every host must be host:port, with an IPv6 address in [brackets]")
            host, port = said["host"].strip("[]"), said["port"]
        port = port or (ports[number if len(ports) > 1 else 0] if ports else str(DEFAULT_PORT))
        if not port.isdigit() or not 0 < int(port) <= MAX_PORT:
            raise ValueError(f"a port must be a number from 1 to {MAX_PORT}, got {port[:16]!r}")
        hosts.append((host, int(port)))
    return hosts


def _socket_options(parameters: Mapping[str, str]) -> list[tuple[int, int, int]]:
    """Return what keeps watch over a silent connection; keepalives are on by default, as in libpq."""
    if parameters.get("keepalives") == "0":
        options = []
    else:
        options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        options += _tcp(parameters, ("keepalives_idle", "TCP_KEEPIDLE"), ("keepalives_interval", "TCP_KEEPINTVL"))
        options += _tcp(parameters, ("keepalives_count", "TCP_KEEPCNT"))
    return options + _tcp(parameters, ("tcp_user_timeout", "TCP_USER_TIMEOUT"))


def _tcp(parameters: Mapping[str, str], *names: tuple[str, str]) -> list[tuple[int, int, int]]:
    """Return those that are given, and that this operating system has. 0 is the system's own."""
    value: Callable[[str], int] = lambda name: int(parameters.get(name, "0"))  # noqa: E731
    return [
        (socket.IPPROTO_TCP, getattr(socket, option), value(name))
        for name, option in names
        if value(name) > 0 and hasattr(socket, option)
    ]
