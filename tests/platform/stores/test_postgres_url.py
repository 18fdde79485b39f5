"""Connection URLs of Postgres in the forms that providers use."""

from typing import Any

import pytest
from asyncpg.connect_utils import _parse_connect_dsn_and_args  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from services.platform.settings import PostgresSettings
from services.platform.stores import postgres_url

# Arguments of asyncpg's parser.
ARGUMENTS = (
    *("host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile", "direct_tls"),
    *("server_settings", "target_session_attrs", "krbsrvname", "gsslib"),
)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def as_asyncpg_reads(dsn: str, **arguments: object) -> Any:
    """Return asyncpg's parameters of a connection."""
    return _parse_connect_dsn_and_args(dsn=dsn, **{**dict.fromkeys(ARGUMENTS), **arguments})[1]


@pytest.mark.parametrize(
    ("parameters", "what"),
    [
        ("channel_binding=prefer&gssencmode=disable&sslsni=1&client_encoding=utf8", {}),
        ("connect_timeout=15", {"connect_timeout_seconds": 15.0}),
        ("connect_timeout=0", {"connect_timeout_seconds": None}),
        ("application_name=mine", {"application_name": "mine"}),
        ("options=endpoint%3Dep-a-b", {"options": "endpoint=ep-a-b"}),
        ("load_balance_hosts=random", {"shuffled": True}),
        ("sslmode=verify-full&sslrootcert=system", {"system_authorities": True}),
        ("keepalives=0&keepalives_idle=9", {"socket_options": ()}),
    ],
)
def test_a_parameter_is_honored_or_has_no_effect_to_miss(parameters: str, what: dict[str, object]) -> None:
    found = postgres_url.parse(f"postgresql://u:p@h/d?{parameters}", {})
    assert {name: getattr(found, name) for name in what} == what
    # Nothing is left that asyncpg would send to the server as a setting.
    assert as_asyncpg_reads(found.dsn).server_settings is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://u:p@h/d?channel_binding=require", "parameter channel_binding must be disable or prefer"),
        ("postgresql://u:p@h/d?gssencmode=require", "parameter gssencmode must be disable or prefer"),
        ("postgresql://u:p@h/d?sslmode=required", "parameter sslmode must be disable or allow"),
        ("postgresql://u:p@h/d?target_session_attrs=standby", "parameter target_session_attrs must be any or primary"),
        (
            "postgresql://u:p@h/d?pgbouncer=true",
            "parameter pgbouncer is not supported; remove it, and set POSTGRES_P",
        ),
        ("postgresql://u:p@h/d?ssl=true", "parameter ssl is not supported; write sslmode=require"),
        ("postgresql://u:p@h/d?hostaddr=1.2.3.4", "parameter hostaddr is not supported"),
        ("postgresql://u:p@h/d?statement_timeout=5", "parameter statement_timeout is not supported"),
        ("postgresql://u:p@h/d?connect_timeout=soon", "parameter connect_timeout must be a whole number"),
        ("postgresql://u:p@h/d?sslrootcert=/no/file", "parameter sslrootcert: file /no/file not found"),
        ("postgresql://u:p@h/d?sslrootcert=system&sslmode=require", "sslrootcert=system requires sslmode=verify-full"),
        ("postgresql://u:p@h/d?sslmode", "the part after ? must be name=value"),
        ("postgresql://u:s3cret@ss@h/d", "must look like postgresql://"),
        ("postgresql://u:s3cret/ss@h/d", "every host must be host:port"),
        ("postgresql://h:0/d", "a port must be a number from 1 to 65535"),
        ("postgresql://h:543210/d", "every host must be host:port"),
        ("postgresql://a,b/d?port=1,2,3", "or one per host"),
        ("mysql://h/d", "must look like postgresql://"),
    ],
)
def test_unsupported_parameters_are_rejected_by_name(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as raised:
        postgres_url.parse(url, {})
    assert why in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_variables_of_libpq_are_read_and_checked() -> None:
    found = postgres_url.parse("postgresql://h/d", {"PGSSLMODE": "disable", "PGTARGETSESSIONATTRS": "primary"})
    assert found.dsn == "postgresql://h/d?sslmode=disable&target_session_attrs=primary"
    assert "require" in postgres_url.parse("postgresql://h/d?sslmode=require", {"PGSSLMODE": "disable"}).dsn
    with pytest.raises(ValueError, match="sslmode must be"):
        postgres_url.parse("postgresql://h/d", {"PGSSLMODE": "on"})


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://a:1,b:2/d", (("a", 1), ("b", 2))),
        ("postgresql://a,[::1]:7/d", (("a", 5432), ("::1", 7))),
        ("postgresql:///d?host=a,b&port=1,2", (("a", 1), ("b", 2))),
        ("postgresql:///d?host=a,b&port=9", (("a", 9), ("b", 9))),
        ("postgresql://a:1/d", ()),
        ("postgresql:///d?host=/run/postgresql", ()),
    ],
)
def test_several_hosts_are_tried_one_after_the_other(url: str, hosts: tuple[tuple[str, int], ...]) -> None:
    found = postgres_url.parse(url, {})
    assert found.hosts == hosts
    assert len(found.attempts()) == max(1, len(hosts))
    # Any of several servers that accepts writes.
    assert ("target_session_attrs=primary" in found.dsn) is (len(hosts) > 1)


@pytest.mark.parametrize("host", ["db", "10.0.0.1", "::1", "/run/postgresql", "a,b"])
@given(user=TEXTS, password=TEXTS, database=TEXTS)
def test_the_parts_make_a_valid_url_for_any_values(host: str, user: str, password: str, database: str) -> None:
    settings = PostgresSettings.model_construct(
        postgres_host=host, postgres_user=user, postgres_password=password, postgres_db=database
    )
    target = settings.postgres_target
    read = as_asyncpg_reads(target.dsn, **target.attempts()[0])
    assert (read.user, read.password, read.database) == (user, password, database)
