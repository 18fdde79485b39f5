"""Errors for values that cannot be installed: in words, all at once, before anything is created."""

from typing import Any

import pytest

from services.domain.egress import policy
from tests.chart import rendering

STORES = rendering.STORES
EXTERNAL: dict[str, Any] = {"externalPostgresql": {"host": "postgres"}, "externalRedis": {"addr": "redis:6379"}}
CIDR = {"ipBlock": {"cidr": "10.0.0.1/8"}}

PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"enabled": False}, "enabled: false has an effect only as the condition of a dependency"),
    ({"fullnameOverride": "Upper"}, 'fullnameOverride: "Upper" must be at most 40 lowercase letters'),
    ({"fullnameOverride": "a" * 53}, "fullnameOverride: "),
    ({"fullnameOverride": "9lives"}, "and begin with a letter"),
    ({"nameOverride": "-web"}, 'nameOverride: "-web" must be at most 63 letters'),
    ({"serviceAccount": {"create": False, "name": ""}}, "serviceAccount.name: required"),
    ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "commonLabels: app.kubernetes.io/name is a label of the chart"),
    ({"podLabels": {"app.kubernetes.io/component": "x"}}, "podLabels: app.kubernetes.io/component is a label of the"),
    ({"worker": {"podLabels": {"helm.sh/chart": "x"}}}, "worker.podLabels: helm.sh/chart is a label of the chart"),
    ({"commonLabels": {"team": "a b"}}, 'commonLabels: the value "a b" of team must be'),
    ({"commonLabels": {"a/b/c": "x"}}, 'commonLabels: "a/b/c" is not a valid label name'),
    ({"image": {"tag": "latest"}}, 'image.tag: "latest" is not a version'),
    ({"redis": {"enabled": True, "image": {"tag": "a b"}}}, 'redis.image.tag: "a b" is not a valid tag'),
    ({"image": {"digest": "sha256:abc"}}, 'image.digest: "sha256:abc" must be sha256: and 64'),
    ({"image": {"repository": "registry.example/web:1.0"}}, "image.repository: "),
    ({"image": {"repository": "https://registry.example/web"}}, "must be registry/name in lowercase"),
    ({"global": {"imageRegistry": "https://registry.example"}}, "global.imageRegistry: "),
    ({"worker": {"replicas": 0}}, "worker.replicas: 0 would stop the service"),
    ({"podSecurityContext": {"runAsUser": 0}}, "podSecurityContext.runAsUser: 0 is root"),
    ({"securityContext": {"runAsUser": 0}}, "securityContext.runAsUser: 0 is root"),
    ({"worker": {"podSecurityContext": {"runAsUser": 0}}}, "worker.podSecurityContext.runAsUser: 0 is root"),
    ({"migrations": {"podSecurityContext": {"runAsUser": 0}}}, "migrations.podSecurityContext.runAsUser: 0 is root"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "podDisruptionBudget.maxUnavailable: must be 1 or more"),
    ({"podDisruptionBudget": {"maxUnavailable": "0%"}}, "podDisruptionBudget.maxUnavailable: must be 1 or more"),
    ({"podLabels": {"roles.webhook-service/ingest": "x"}}, "podLabels: roles.webhook-service/ingest is a label of the"),
    (
        {"layout": "compact", "ingest": {"extraEnv": [{"name": "A", "value": "b"}]}},
        "ingest.extraEnv: has no effect with layout compact, where ingest runs in the pods of gateway; set",
    ),
    (
        {"layout": "compact", "analytics": {"nodeSelector": {"a": "b"}}},
        "analytics.nodeSelector: has no effect with layout compact, where analytics runs in the pods of worker",
    ),
    ({"grpcTls": {"enabled": True}}, "grpcTls: set grpcTls.existingSecret, or"),
    ({"autoscaling": {"enabled": True, "source": "keda"}}, "autoscaling.keda.serverAddress: required"),
    ({"gateway": {"service": {"nodePort": 30080}}}, "gateway.service.nodePort: requires gateway.service.type"),
    ({"gateway": {"service": {"externalTrafficPolicy": "Local"}}}, "gateway.service.externalTrafficPolicy: requires"),
    (
        {"gateway": {"service": {"type": "NodePort", "loadBalancerClass": "x"}}},
        "gateway.service.loadBalancerClass: requires gateway.service.type LoadBalancer",
    ),
    (
        {"gateway": {"service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1/8"]}}},
        'gateway.service.loadBalancerSourceRanges[0]: "10.0.0.1/8" must be written "10.0.0.0/8"',
    ),
    ({"externalPostgresql": {"host": "db"}}, "cannot be combined with externalPostgresql.host"),
    ({"externalPostgresql": {"databaseUrlKey": "url"}}, "cannot be combined with externalPostgresql.databaseUrlKey"),
    ({"externalRedis": {"addr": "redis:6379"}}, "cannot be combined with externalRedis.addr"),
    ({"externalRedis": {"url": "redis://redis"}}, "cannot be combined with externalRedis.url"),
    (
        {"settings": {"LEASE_SECONDS": 10}},
        "settings.LEASE_SECONDS: 10 must be at least DELIVERY_TIMEOUT_SECONDS (15) + 5",
    ),
    ({"settings": {"DELIVERY_TIMEOUT_SECONDS": 20}}, "shutdown.graceSeconds: 20 must be at least"),
    ({"shutdown": {"graceSeconds": 15}}, "shutdown.graceSeconds: 15 must be at least"),
    (
        {"settings": {"RETRY_LIMIT": 400, "LOG_RETENTION_HOURS": 8000}},
        "settings.DELIVERY_EXPIRY_HOURS: 168 h is shorter than the retries",
    ),
    (
        {"settings": {"RETRY_LIMIT": 80, "LOG_RETENTION_HOURS": 24}},
        "settings.LOG_RETENTION_HOURS: 24 h is shorter than",
    ),
    ({"settings": {"EGRESS_DENY_PORTS": "default, 70000"}}, 'settings.EGRESS_DENY_PORTS: "70000" is not'),
    ({"settings": {"EGRESS_PROXY": "http://proxy:99999"}}, "settings.EGRESS_PROXY: the port must be from 1 to 65535"),
    ({"settings": {"EGRESS_PROXY": "socks5://proxy:1080"}}, "settings.EGRESS_PROXY: must be http://host:port"),
    ({"settings": {"EGRESS_DENY_PORTS": "All"}}, 'settings.EGRESS_DENY_PORTS: "All" is not "default" or a port'),
    ({"settings": {"EGRESS_CA_BUNDLE": "/ca/ca.crt"}}, "settings.EGRESS_CA_BUNDLE: "),
    ({"settings": {"BIND_HOST": "127.0.0.1"}}, "settings.BIND_HOST: "),
    ({"tracing": {"endpoint": "collector:4317"}}, 'tracing.endpoint: "collector:4317" must be http://host:port'),
    ({"tracing": {"resourceAttributes": {"a": ""}}}, "tracing.resourceAttributes: "),
    ({"egressAllow": ["*"]}, 'egressAllow: "*" is not a network'),
    ({"egressAllow": ["10.0.0.0/99"]}, 'egressAllow: "10.0.0.0/99" is not a network'),
    ({"egressAllow": ["10.0.0.0/8, 10.1.0.0/16"]}, "egressAllow: "),
    (
        {"networkPolicy": {"metricsClients": [CIDR]}},
        'networkPolicy.metricsClients[0].ipBlock.cidr: "10.0.0.1/8" must be',
    ),
    ({"networkPolicy": {"otlp": {"peers": [CIDR]}}}, "networkPolicy.otlp.peers[0].ipBlock.cidr: "),
    ({"networkPolicy": {"worker": {"denyCidrs": ["10.0.0.0/33"]}}}, "networkPolicy.worker.denyCidrs: "),
    ({"ingress": {"enabled": True}}, "ingress.hosts: at least one host name"),
    ({"ingress": {"enabled": True, "hosts": ["https://a.example"]}}, "ingress.hosts: "),
    ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs: at least one Gateway"),
    (
        {"networkPolicy": {"grpcClients": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}},
        "networkPolicy.grpcClients[0]: ipBlock cannot be combined with a selector",
    ),
]
STORE_PROBLEMS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"host": "postgresql://u:secret@db/x"}, {}, "externalPostgresql.host: must be a host name or address"),
    ({"host": "db:5432"}, {}, 'externalPostgresql.host: "db:5432" must be a host name'),
    ({"host": "db", "directHost": "postgres://db"}, {}, "externalPostgresql.directHost: "),
    ({"host": "db", "sslMode": "verify-full"}, {}, "externalPostgresql.caSecret: required with sslMode verify-full"),
    ({"host": "db", "caSecret": "ca"}, {}, "externalPostgresql.sslMode: must be verify-ca or verify-full"),
    ({"host": "", "databaseUrlKey": "url"}, {}, "externalPostgresql.existingSecret: required"),
    ({}, {"addr": "redis"}, 'externalRedis.addr: "redis" must be host:port'),
    ({}, {"addr": "::1:6379"}, "with an IPv6 address in brackets"),
    ({}, {"addr": "redis:70000"}, "externalRedis.addr: the port of"),
    ({}, {"addr": "", "url": "redis://:secret@redis:6379"}, "externalRedis.url: must not contain a user or password"),
    ({}, {"addr": "", "url": "redis+sentinels://one/x"}, "externalRedis.url: "),
    ({}, {"addr": "", "url": "redis+sentinel://one"}, "must have the service name after the hosts"),
    ({}, {"passwordKey": "password"}, "externalRedis.existingSecret: required"),
    ({}, {"caSecret": "ca"}, "externalRedis.caSecret: requires TLS"),
]


@pytest.mark.parametrize(("values", "sentence"), PROBLEMS, ids=[str(values) for values, _ in PROBLEMS])
def test_a_value_that_cannot_be_installed_is_rejected_in_words(values: dict[str, Any], sentence: str) -> None:
    why = rendering.refused({**STORES, **values})
    assert sentence in why
    assert why.count("\n  - ") == 1


@pytest.mark.parametrize(("postgresql", "redis", "sentence"), STORE_PROBLEMS)
def test_a_store_address_that_cannot_be_reached_is_reported(
    postgresql: dict[str, Any], redis: dict[str, Any], sentence: str
) -> None:
    values = {
        "externalPostgresql": EXTERNAL["externalPostgresql"] | postgresql,
        "externalRedis": EXTERNAL["externalRedis"] | redis,
    }
    why = rendering.refused(values)
    assert sentence in why
    assert "secret@" not in why


@pytest.mark.parametrize("program", rendering.HELMS)
def test_missing_values_are_reported_all_at_once(program: str) -> None:
    why = rendering.refused({"networkPolicy": {"enabled": True}, "ingress": {"enabled": True}}, program=program)
    for missing in (
        "Postgres: set externalPostgresql.host",
        "Redis: set externalRedis.addr",
        "networkPolicy.postgresql.peers",
        "networkPolicy.redis.peers",
        "networkPolicy.redis.ports",
        "ingress.hosts",
        "image.repository",
        "secrets.existingSecret",
    ):
        assert f"- {missing}" in why


def test_valid_values_are_accepted() -> None:
    assert rendering.rendered(EXTERNAL)
    assert rendering.rendered(STORES | {"settings": {"LEASE_SECONDS": 20, "DELIVERY_TIMEOUT_SECONDS": 15}})


ENTRIES = [
    *("10.0.0.0/8", "10.1.2.3/8", "10.0.0.0/99", "10.0.0.0/0", "0.0.0.0/0", "10.0.0.5", "10.0.0.5/32", "256.1.1.1/8"),
    *("*", "10.0.0.0/", "/8", "1.2.3", "1.2.3.4.5", "01.2.3.4", "a,b", "a b", "http://x", ""),
    *("fd00::/8", "FD00::/8", "fd00::1/8", "::/0", "::1", "::", "1::2::3", "1:2:3", "1:2:3:4:5:6:7:8", ":::", "1:2:"),
    *("2001:db8:0:1::/64", "2001:db8::12345/64", "64:ff9b::10.0.0.0/104", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8:9"),
    *("10.30.0.5:9200", "[fd00:30::5]:9200", "[fd00:30::5]", "[10.0.0.1]:80", "10.0.0.1:x", "host:0", "host:70000"),
    *("receiver.shop.svc.cluster.local", "UPPER.example.", "host:8080", "*.example.com", "*.example.com:80", "*."),
    *("a" * 63, "a" * 64, "under_score", "-dash", "example..com", "host/path"),
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_chart_takes_the_entries_of_egress_allow_that_the_service_takes(entry: str) -> None:
    try:
        policy.Policy.parse([entry])
    except ValueError:
        assert "egressAllow: " in rendering.refused(STORES | {"egressAllow": [entry]})
    else:
        assert rendering.rendered(STORES | {"egressAllow": [entry]})
