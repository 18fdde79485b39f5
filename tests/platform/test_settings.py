"""Settings from the environment and .env."""

import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.harness.keys import ENCRYPTION_KEY
from dev.local.settings import LocalSettings
from services.analytics.settings import AnalyticsSettings
from services.delivery.settings import DeliverySettings, WorkerSettings
from services.gateway.settings import GatewaySettings
from services.ingest.settings import IngestSettings
from services.platform.settings import PostgresSettings, RedisSettings, Settings, load
from services.platform.tracing.settings import TracingDoorSettings

SECRET = "hunter2-s3cret"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an environment without our variables."""
    monkeypatch.chdir(tmp_path)
    for name in {**IngestSettings.model_fields, **WorkerSettings.model_fields, **GatewaySettings.model_fields}:
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


def test_the_defaults_apply_without_any_variable() -> None:
    settings = load(IngestSettings)
    assert (settings.postgres_dsn, settings.redis_dsn, settings.grpc_port) == (
        "postgresql://postgres@localhost:5432/webhook",
        "redis://localhost:6379/0",
        50051,
    )
    assert settings.development


def test_variables_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ENV": "production",
        "BOOTSTRAP_ADMIN_KEY": "whk_" + "b" * 28,
        "SERVICE_KEY": "s" * 32,
        "ENCRYPTION_KEYS": ENCRYPTION_KEY,
        "POSTGRES_HOST": "db",
        "POSTGRES_PORT": "6543",
        "POSTGRES_USER": "hook",
        "POSTGRES_PASSWORD": SECRET,
        "POSTGRES_DB": "hooks",
        "REDIS_ADDR": "cache:6380",
        "REDIS_PASSWORD": SECRET,
        "REDIS_DB": "3",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load(IngestSettings)
    assert settings.postgres_dsn == f"postgresql://hook:{SECRET}@db:6543/hooks"
    assert settings.redis_dsn == f"redis://:{SECRET}@cache:6380/3"
    assert settings.host == "::"


def test_variables_come_from_the_env_file(folder: Path) -> None:
    (folder / ".env").write_text("POSTGRES_HOST=db\nRETRY_LIMIT=7\nWORKER_CONCURRENCY = 10\nSOMETHING_ELSE=1\n")
    settings = load(WorkerSettings)
    assert (settings.postgres_host, settings.retry_limit, settings.worker_concurrency) == ("db", 7, 10)


def test_the_environment_overrides_the_env_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("POSTGRES_HOST=file\nPOSTGRES_DB=file\n")
    monkeypatch.setenv("POSTGRES_HOST", "environment")
    settings = load(PostgresSettings)
    assert (settings.postgres_host, settings.postgres_db) == ("environment", "file")


def test_urls_override_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://u@h/d?host=/tmp/x")
    monkeypatch.setenv("POSTGRES_HOST", "elsewhere")
    monkeypatch.setenv("REDIS_URL", "unix:///tmp/redis.sock")
    settings = load(IngestSettings)
    assert (settings.postgres_dsn, settings.redis_dsn) == ("postgres://u@h/d?host=/tmp/x", "unix:///tmp/redis.sock")


@pytest.mark.parametrize("name", ["GRPC_PORT", "POSTGRES_HOST", "DATABASE_URL", "REDIS_ADDR", "METRICS_PORT", "ENV"])
def test_an_empty_variable_means_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    default = getattr(load(IngestSettings), name.lower())
    monkeypatch.setenv(name, "")
    assert getattr(load(IngestSettings), name.lower()) == default


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        (None, ["127.0.0.0/8", "::1/128"]),
        ("", []),
        (" , ", []),
        ("10.0.0.0/8, hooks.test:8000", ["10.0.0.0/8", "hooks.test:8000"]),
    ],
)
def test_egress_allow_is_the_only_setting_with_a_meaning_when_empty(
    monkeypatch: pytest.MonkeyPatch, text: str | None, allowed: list[str]
) -> None:
    if text is not None:
        monkeypatch.setenv("EGRESS_ALLOW", text)
    assert load(WorkerSettings).egress_allowed == allowed


def test_egress_allow_can_be_empty_in_the_env_file_too(folder: Path) -> None:
    (folder / ".env").write_text("EGRESS_ALLOW=\nRETRY_LIMIT=\n")
    settings = load(WorkerSettings)
    assert (settings.egress_allowed, settings.retry_limit) == ([], 5)


def test_egress_allow_defaults_to_nothing_outside_of_development(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV", "production")
    monkeypatch.setenv("ENCRYPTION_KEYS", ENCRYPTION_KEY)
    assert load(WorkerSettings).egress_allowed == []


@pytest.mark.parametrize("url", ["http://p.example:3128", "http://u:p%40ss@10.0.0.1:80/", "http://[fd00::1]:3128"])
def test_a_proxy_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("EGRESS_PROXY", url)
    assert load(WorkerSettings).egress_proxy == url


def test_a_bundle_without_certificates_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    empty = folder / "empty.pem"
    empty.write_text("nothing")
    for path in (empty, folder / "missing.pem", folder):
        monkeypatch.setenv("EGRESS_CA_BUNDLE", str(path))
        assert refusal(capsys, WorkerSettings).startswith("EGRESS_CA_BUNDLE: ")


def refusal(capsys: pytest.CaptureFixture[str], cls: type[Settings]) -> str:
    """Return the one line that these settings print before the process exits."""
    with pytest.raises(SystemExit) as ended:
        load(cls)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("\n")
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("settings", "name", "value", "words"),
    [
        (IngestSettings, "GRPC_PORT", "http", ""),
        (IngestSettings, "GRPC_PORT", "65536", ""),
        (IngestSettings, "GRPC_PORT", "-1", ""),
        (IngestSettings, "POSTGRES_PORT", "5432\nx", ""),
        (IngestSettings, "POSTGRES_POOL_SIZE", "0", ""),
        (IngestSettings, "POSTGRES_HOST", "https://db.example.com", "must be a host name, an address, or"),
        (IngestSettings, "REDIS_DB", "-1", ""),
        (IngestSettings, "REDIS_ADDR", "localhost", "must be host:port"),
        (IngestSettings, "REDIS_ADDR", "localhost:redis", ""),
        (IngestSettings, "REDIS_ADDR", "redis://localhost:6379", ""),
        (IngestSettings, "REDIS_ADDR", "a:b:6379", ""),
        (IngestSettings, "REDIS_ADDR", "::6379x", ""),
        (IngestSettings, "REDIS_ADDR", "redis:0", ""),
        (IngestSettings, "REDIS_ADDR", "redis:65536", ""),
        (IngestSettings, "REDIS_ADDR", "[redis]:6379", ""),
        (IngestSettings, "REDIS_ADDR", "fd00::5", ""),
        (IngestSettings, "LOG_LEVEL", "verbose", "must be debug, info, warning or error"),
        (IngestSettings, "MAX_PAYLOAD_BYTES", "1 MiB", ""),
        (IngestSettings, "BIND_HOST", "http://0.0.0.0", "must be an address of this machine"),
        (GatewaySettings, "INGEST_ADDR", "ingest", "must be host:port"),
        (WorkerSettings, "EGRESS_PROXY", "socks5://proxy:1080", "must be http://host:port or"),
        (WorkerSettings, "EGRESS_DENY_PORTS", "22;25", "must be default, none, or ports separated by commas"),
        (TracingDoorSettings, "OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "must be http://host:port, or https://"),
        (TracingDoorSettings, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector", ""),
        (TracingDoorSettings, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317/v1/traces", ""),
        (TracingDoorSettings, "OTEL_TRACES_SAMPLER_ARG", "1.01", ""),
        (TracingDoorSettings, "OTEL_TRACES_SAMPLER_ARG", "nan", ""),
        (TracingDoorSettings, "OTEL_TRACES_SAMPLER_ARG", "all", ""),
        (TracingDoorSettings, "OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.crt", ""),
        (TracingDoorSettings, "OTEL_EXPORTER_OTLP_CERTIFICATE", "/dev/null", ""),
        (TracingDoorSettings, "OTEL_EXPORTER_OTLP_CERTIFICATE", "/tmp", ""),
        (TracingDoorSettings, "OTEL_RESOURCE_ATTRIBUTES", "k8s.namespace.name", ""),
        (TracingDoorSettings, "OTEL_RESOURCE_ATTRIBUTES", "=here", ""),
        (TracingDoorSettings, "TRACING_TRUST_CALLERS", "perhaps", ""),
    ],
)
def test_a_wrong_value_ends_the_start_with_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: type[Settings],
    name: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setenv(name, value)
    line = refusal(capsys, settings)
    assert line.startswith(f"{name}: {words}")
    # Values that may be secret are not repeated; messages about attributes and files describe the problem.
    told = {"EGRESS_PROXY", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_CERTIFICATE"}
    assert repr(value) in line or name in told
    assert "pattern" not in line


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (IngestSettings, "DATABASE_URL", f"mysql://root:{SECRET}@db/x"),
        (IngestSettings, "DATABASE_URL", SECRET),
        (IngestSettings, "REDIS_URL", f"http://:{SECRET}@cache"),
        (IngestSettings, "REDIS_URL", f"cache:6379?password={SECRET}"),
        (IngestSettings, "REDIS_URL", f"redis+sentinel://:{SECRET}@sentinel:26379"),
        (IngestSettings, "REDIS_URL", f"redis+cluster://:{SECRET}@cache:6379/3"),
        (TracingDoorSettings, "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:{SECRET}@collector:4317"),
        (IngestSettings, "SERVICE_KEY", SECRET),
        (IngestSettings, "SERVICE_KEY", f"{SECRET} with spaces, and long enough"),
        (IngestSettings, "SERVICE_KEY", SECRET + "é" * 32),
        (IngestSettings, "SERVICE_KEY", SECRET * 20),
        (IngestSettings, "BOOTSTRAP_ADMIN_KEY", SECRET * 3),
        (IngestSettings, "BOOTSTRAP_ADMIN_KEY", f"whk_{SECRET}"),
        (WorkerSettings, "EGRESS_PROXY", f"https://u:{SECRET}@p:1"),
        (WorkerSettings, "EGRESS_PROXY", f"u:{SECRET}@p:1"),
        (WorkerSettings, "EGRESS_PROXY", f"http://u:{SECRET}@p"),
        (WorkerSettings, "EGRESS_PROXY", f"http://u:{SECRET}@p:70000"),
        (TracingDoorSettings, "OTEL_EXPORTER_OTLP_HEADERS", SECRET),
        (TracingDoorSettings, "OTEL_EXPORTER_OTLP_HEADERS", f"Authorization={SECRET}"),
        (TracingDoorSettings, "OTEL_EXPORTER_OTLP_HEADERS", f"authorization={SECRET}%0A"),
    ],
)
def test_an_invalid_value_with_a_secret_is_reported_at_the_start_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: type[Settings], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    line = refusal(capsys, settings)
    assert line.startswith(f"{name}: ")
    assert SECRET not in line


@pytest.mark.parametrize(
    "value",
    [
        "traces.example.com/{trace_id}",
        "javascript:alert({trace_id})",
        "https://traces.example.com/",
        "https://traces.example.com/{trace_id}/{trace_id}",
        "https://traces.example.com/{span_id}{trace_id}",
        "https://traces.example.com/ {trace_id}",
    ],
)
def test_a_trace_url_that_leads_to_no_trace_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("TRACE_URL", value)
    expected = "TRACE_URL: must be an http:// or https:// URL that contains {trace_id} once"
    assert refusal(capsys, GatewaySettings).startswith(expected)


def test_a_broken_rule_between_variables_names_them_and_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEASE_SECONDS", "16")
    monkeypatch.setenv("POSTGRES_PASSWORD", SECRET)
    line = refusal(capsys, WorkerSettings)
    assert "LEASE_SECONDS must be at least DELIVERY_TIMEOUT_SECONDS" in line
    assert SECRET not in line


def test_keys_are_not_in_the_representation_of_settings() -> None:
    settings = IngestSettings(service_key=SECRET * 3, bootstrap_admin_key=f"whk_{SECRET * 3}")
    assert SECRET not in repr(settings)


def test_the_bootstrap_key_is_another_than_the_service_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERVICE_KEY", f"whk_{SECRET * 3}")
    monkeypatch.setenv("BOOTSTRAP_ADMIN_KEY", f"whk_{SECRET * 3}")
    assert refusal(capsys, IngestSettings) == "BOOTSTRAP_ADMIN_KEY: must differ from SERVICE_KEY"


KEYS_BY_CLASS: list[tuple[type[Settings], list[str]]] = [
    (GatewaySettings, ["SERVICE_KEY"]),
    (IngestSettings, ["SERVICE_KEY", "BOOTSTRAP_ADMIN_KEY"]),
    (DeliverySettings, ["SERVICE_KEY"]),
    (AnalyticsSettings, ["SERVICE_KEY"]),
    (WorkerSettings, []),
    (LocalSettings, ["SERVICE_KEY", "BOOTSTRAP_ADMIN_KEY"]),
]


OWN = {"INGEST_SERVICE_KEY": "i" * 32, "DELIVERY_SERVICE_KEY": "d" * 32, "ANALYTICS_SERVICE_KEY": "a" * 32}


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (IngestSettings, "INGEST_SERVICE_KEY"),
        (DeliverySettings, "DELIVERY_SERVICE_KEY"),
        (AnalyticsSettings, "ANALYTICS_SERVICE_KEY"),
    ],
)
def test_a_key_of_its_own_replaces_the_service_key_of_a_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cls: type[Any], name: str
) -> None:
    monkeypatch.setenv("AUTH_REQUIRED", "true")
    monkeypatch.setenv("BOOTSTRAP_ADMIN_KEY", "whk_" + "b" * 28)
    for other, value in OWN.items():
        monkeypatch.setenv(other, value)
    assert load(cls).service_key == OWN[name]
    # The shared one is for processes without their own.
    monkeypatch.setenv("SERVICE_KEY", "s" * 32)
    assert load(cls).service_key == OWN[name]
    monkeypatch.delenv(name)
    assert load(cls).service_key == "s" * 32
    monkeypatch.setenv(name, SECRET)
    line = refusal(capsys, cls)
    assert f"{name}: must have 32 to 256 printable ASCII characters" in line
    assert SECRET not in line


@pytest.mark.parametrize("cls", [GatewaySettings, LocalSettings])
def test_the_gateway_needs_the_shared_key_only_where_a_process_has_none_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cls: type[Any]
) -> None:
    monkeypatch.setenv("AUTH_REQUIRED", "true")
    monkeypatch.setenv("BOOTSTRAP_ADMIN_KEY", "whk_" + "b" * 28)
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    assert load(cls).delivery_service_key == OWN["DELIVERY_SERVICE_KEY"]
    monkeypatch.delenv("DELIVERY_SERVICE_KEY")
    assert refusal(capsys, cls).startswith("SERVICE_KEY: is required")
    monkeypatch.setenv("SERVICE_KEY", "s" * 32)
    loaded = load(cls)
    assert [loaded.ingest_service_key, loaded.delivery_service_key] == ["i" * 32, "s" * 32]


@pytest.mark.parametrize(("cls", "needed"), KEYS_BY_CLASS)
@pytest.mark.parametrize("variables", [{"ENV": "production"}, {"AUTH_REQUIRED": "true"}])
def test_process_does_not_start_without_its_keys_where_keys_are_required(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cls: type[Settings],
    needed: list[str],
    variables: dict[str, str],
) -> None:
    for name, value in {**variables, "ENCRYPTION_KEYS": ENCRYPTION_KEY}.items():
        monkeypatch.setenv(name, value)
    values = {"SERVICE_KEY": "s" * 32, "BOOTSTRAP_ADMIN_KEY": "whk_" + "b" * 28}
    for missing in needed:
        for name in needed:
            monkeypatch.setenv(name, "" if name == missing else values[name])
        line = refusal(capsys, cls)
        assert line == f"{missing}: is required, unless ENV=development or AUTH_REQUIRED=false"
    for name in needed:
        monkeypatch.setenv(name, values[name])
    assert isinstance(load(cls), cls)


@pytest.mark.parametrize("variables", [{}, {"ENV": "production", "AUTH_REQUIRED": "false"}])
def test_processes_start_without_keys_where_none_are_required(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in {**variables, "ENCRYPTION_KEYS": ENCRYPTION_KEY}.items():
        monkeypatch.setenv(name, value)
    for cls, _ in KEYS_BY_CLASS:
        load(cls)
    assert not load(GatewaySettings).requires_key


PASSWORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(password=PASSWORDS, user=PASSWORDS, name=PASSWORDS)
def test_postgres_url_keeps_any_user_password_and_database_exactly(password: str, user: str, name: str) -> None:
    settings = PostgresSettings(postgres_password=password, postgres_user=user, postgres_db=name)
    parts = urlsplit(settings.postgres_dsn)
    assert unquote(parts.password or "") == password
    assert unquote(parts.username or "") == user
    assert unquote(parts.path[1:]) == name
    assert (parts.hostname, parts.port, parts.query, parts.fragment) == ("localhost", 5432, "", "")


@given(password=PASSWORDS)
def test_redis_url_keeps_any_password_exactly(password: str) -> None:
    parts = urlsplit(RedisSettings(redis_password=password, redis_db=2).redis_dsn)
    assert unquote(parts.password or "") == password
    assert (parts.hostname, parts.port, parts.path) == ("localhost", 6379, "/2")


def test_an_ipv6_host_is_put_in_brackets() -> None:
    parts = urlsplit(PostgresSettings(postgres_host="fd00::5").postgres_dsn)
    assert (parts.hostname, parts.port) == ("fd00::5", 5432)
    assert urlsplit(RedisSettings(redis_addr="[fd00::5]:6379").redis_dsn).hostname == "fd00::5"


@pytest.mark.parametrize(("env", "host"), [("development", "127.0.0.1"), ("production", "::"), ("Dev", "::")])
def test_default_host_is_loopback_only_in_development(env: str, host: str) -> None:
    assert Settings(env=env).host == host
    assert Settings(env=env, bind_host="::1").host == "::1"
    assert Settings(env=env, bind_host="[::1]").host == "::1"


def test_a_kernel_without_ipv6_is_bound_by_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert Settings(env="production").host == "0.0.0.0"


ROLES: list[type[Settings]] = [
    GatewaySettings,
    IngestSettings,
    DeliverySettings,
    WorkerSettings,
    AnalyticsSettings,
    LocalSettings,
]
NUMBERS = [
    (cls, name)
    for cls in ROLES
    for name, field in cls.variables().items()
    if field.annotation is int or field.annotation is float
]
ODD_NUMBERS = ("inf", "-inf", "nan", "NaN", "1e308", "-1", "-0.5", "9" * 30, "9" * 5000, "1e400", "0x10", "1,5")


@pytest.mark.parametrize(("cls", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
def test_a_number_without_sense_ends_the_start_withrefusal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cls: type[Settings], name: str
) -> None:
    for value in ODD_NUMBERS:
        monkeypatch.setenv(name.upper(), value)
        line = refusal(capsys, cls)
        assert line.startswith(f"{name.upper()}: "), line
        assert len(line) < 300


@pytest.mark.parametrize("cls", ROLES)
def test_settings_of_any_text_are_accepted_or_rejected_in_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cls: type[Settings]
) -> None:
    odd = (
        "inf",
        "nan",
        "-1",
        "0",
        " ",
        "true",
        "TRUE",
        "[",
        "{}",
        "null",
        "::",
        "[::1]:1",
        "a:b:6379",
        ":",
        "é\u2028",
        "%",
        "\x1b",
    )
    for name in cls.variables():
        for value in odd:
            monkeypatch.setenv(name.upper(), value)
            try:
                load(cls)
            except SystemExit:
                # The line names all variables of a rule between variables; ENV decides whether others are required.
                for line in capsys.readouterr().err.splitlines():
                    at_fault = line.partition(": ")[0]
                    assert at_fault in {name.upper(), "configuration"} or "is required" in line, (name, value, line)
        monkeypatch.delenv(name.upper())


def test_a_constant_cannot_be_set_by_a_variable(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Not even a former variable; only code sets another value."""
    monkeypatch.setenv("INGEST_QUEUE_EVENTS", "soon")
    (folder / ".env").write_text("CACHED_SUBSCRIPTIONS=7\n")
    settings = load(IngestSettings)
    assert (settings.ingest_queue_events, settings.cached_subscriptions) == (5_000, 50_000)
    assert IngestSettings(ingest_queue_events=3).ingest_queue_events == 3


@pytest.mark.parametrize("text", ["INFO", "Info", " info "])
def test_a_log_level_is_read_in_any_case(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LOG_LEVEL", text)
    assert load(GatewaySettings).log_level == "info"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("::1:6379", "::1", 6379),
        ("[::1]:6379", "::1", 6379),
        ("fd00::5:1", "fd00::5", 1),
        ("redis.example:6380", "redis.example", 6380),
    ],
)
def test_redis_addr_may_be_of_either_ip_family(
    monkeypatch: pytest.MonkeyPatch, text: str, host: str, port: int
) -> None:
    monkeypatch.setenv("REDIS_ADDR", text)
    parts = urlsplit(load(IngestSettings).redis_dsn)
    assert (parts.hostname, parts.port) == (host, port)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("::1:50051", "[::1]:50051"),
        ("dns:///release-ingest:50051", "dns:///release-ingest:50051"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", "ipv4:127.0.0.1:1,127.0.0.1:2"),
    ],
)
def test_addresses_of_services_are_as_grpc_takes_them(monkeypatch: pytest.MonkeyPatch, text: str, target: str) -> None:
    monkeypatch.setenv("INGEST_ADDR", text)
    assert load(GatewaySettings).ingest_addr == target
