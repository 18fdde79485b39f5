"""NetworkPolicies allow the connections in the architecture, and nothing else."""

import copy
import functools
import ipaddress
import itertools
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.domain.egress import policy as egress
from tests.chart import rendering
from tests.chart.network.network_policies import Place, may_reach, selects
from tests.chart.rendering import NAMESPACE, Object

# Who may connect to whom, and on which port. `test` is the pod of `helm test`, `migrate` that of the migration Job.
ARROWS = {
    ("senders", "gateway", 8080),
    ("test", "gateway", 8080),
    ("test", "ingest", 9090),
    ("test", "delivery", 9090),
    ("gateway", "ingest", 50051),
    ("gateway", "delivery", 50052),
    ("gateway", "analytics", 50053),
    ("ingest", "postgresql", 5432),
    ("delivery", "postgresql", 5432),
    ("worker", "postgresql", 5432),
    ("analytics", "postgresql", 5432),
    ("migrate", "postgresql", 5432),
    ("relay", "ingest", 50051),
    ("relay", "outbox", 5432),
    ("ingest", "redis", 6379),
    ("delivery", "redis", 6379),
    ("worker", "redis", 6379),
    ("worker", "receivers", 443),
    ("worker", "test", 8080),
}
WITH_METRICS = ("gateway", "ingest", "delivery", "worker", "analytics", "relay")
PORTS = (53, 80, 443, 4317, 5432, 5433, 6379, 8080, 8443, 9090, 9200, 26379, 50051, 50052, 50053)
# Their names in docs/design/architecture.md.
DOCUMENTED = {"Postgres": "postgresql", "Redis": "redis", "migration": "migrate", "helm test": "test"}

ON: dict[str, Any] = {"networkPolicy": {"enabled": True}}
RELAY: dict[str, Any] = {
    "relay": {"enabled": True, "existingSecret": "shop"},
    "networkPolicy": {"enabled": True, "outbox": {"peers": [{"podSelector": {"matchLabels": {"app": "shop-db"}}}]}},
}
TRIAL = rendering.STORES | RELAY
PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
SENDER = Place(name="senders", address="51.15.0.7")
RECEIVER = Place(name="receivers", address="93.184.215.14")
DNS = Place(name="dns", address="10.244.0.2", namespace="kube-system", labels={"k8s-app": "kube-dns"})
PROMETHEUS = Place(
    name="prometheus", address="10.244.0.9", namespace="monitoring", labels={"app.kubernetes.io/name": "prometheus"}
)
COLLECTOR = Place(name="collector", address="10.244.0.10", namespace="monitoring", labels={"app": "collector"})
CONTROLLER = Place(name="controller", address="10.244.0.11", namespace="ingress-nginx", labels={"app": "nginx"})
CHECKOUT = Place(name="checkout", address="10.244.0.12", namespace="shop", labels={"app": "checkout"})
SHOP_RECEIVER = Place(name="shop receiver", address="10.244.0.13", namespace="shop", labels={"app": "receiver"})
REPORTS = Place(name="reports", address="10.244.0.14", namespace="reports", labels={"app": "reports"})
STRANGER = Place(name="stranger", address="10.244.0.66", namespace=NAMESPACE, labels={"app": "stranger"})
OUTBOX = Place(name="outbox", address="10.244.0.15", namespace=NAMESPACE, labels={"app": "shop-db"})
PRIVATE = (
    *("10.0.0.1", "10.255.255.254", "172.16.0.1", "172.31.255.254", "192.168.1.1", "100.64.0.1", "127.0.0.1"),
    *("169.254.169.254", "169.254.20.10", "168.63.129.16", "198.18.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"),
    *("fd00::1", "fd00:ec2::254", "fe80::1", "::1", "::ffff:10.0.0.1", "::10.0.0.1", "ff02::1", "2002:a00:1::1"),
    *("64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1"),
)
# The API server as pods reach it: by its Service, and by a node's address.
API_SERVER = ("10.96.0.1", "10.89.0.2")


@functools.cache
def trial(layout: str = "five") -> list[Object]:
    """Return the objects with the chart's stores."""
    return rendering.rendered(TRIAL | {"layout": layout})


def arrows(layout: str) -> set[tuple[str, str, int]]:
    """Return the arrows between the pods of a layout: those of all their roles."""
    pods = {role: component for component, roles in rendering.LAYOUTS[layout].items() for role in roles}
    found = {(pods.get(source, source), pods.get(target, target), port) for source, target, port in ARROWS}
    return {(source, target, port) for source, target, port in found if source != target}


def external() -> list[Object]:
    """Return the objects with all stores external, and every value set."""
    return rendering.scenario("network")


def policies(objects: list[Object]) -> list[Object]:
    return rendering.of_kind(objects, "NetworkPolicy")


def pods(objects: list[Object], namespace: str = NAMESPACE) -> dict[str, Place]:
    """Return the pods of a release by component, each with a cluster address and its labels."""
    found = {}
    for number, (_, template) in enumerate(rendering.pod_templates(objects), start=1):
        labels = template["metadata"]["labels"]
        name = labels["app.kubernetes.io/component"]
        found[name] = Place(name=name, address=f"10.244.1.{number}", namespace=namespace, labels=labels)
    return found


def opened(objects: list[Object], *others: Place) -> set[tuple[str, str, int]]:
    """Return every possible connection between the pods of a release and others, except among others."""
    own = pods(objects)
    places = [*own.values(), *others]
    return {
        (source.name, target.name, port)
        for source, target, port in itertools.product(places, places, PORTS)
        if source is not target
        and not {source.name, target.name}.isdisjoint(own)
        and may_reach(policies(objects), source, target, port)
    }


def documented() -> Iterator[tuple[str, str, int]]:
    """Return the arrows of the table in docs/design/architecture.md."""
    text = (rendering.ROOT / "docs/design/architecture.md").read_text()
    section = text.partition("## Who connects to whom\n")[2].partition("\n## ")[0]
    for source, target, port in re.findall(r"^\| ([\w ]+) \| ([\w ]+) \| (\d+) \|", section, re.MULTILINE):
        yield DOCUMENTED.get(source, source), DOCUMENTED.get(target, target), int(port)


def test_the_documents_have_the_same_arrows() -> None:
    found = list(documented())
    assert set(found) == ARROWS
    assert len(found) == len(ARROWS)


@pytest.mark.parametrize("layout", rendering.LAYOUTS)
def test_exactly_the_arrows_of_the_architecture_are_open(layout: str) -> None:
    """Anyone may call the gateway, because no clients are listed. The service checks the ports of receivers."""
    expected = arrows(layout)
    expected |= {(name, "gateway", 8080) for name in ("stranger", "prometheus", "outbox")}
    expected |= {("worker", "receivers", port) for port in PORTS}
    # One internet host stands for all.
    expected |= {("receivers", "gateway", 8080)} | {("worker", "senders", port) for port in PORTS}
    if layout == "compact":
        # The worker's own pod is where its metrics are asked for what is degraded.
        assert ("test", "worker", 9090) in expected
    assert opened(trial(layout), SENDER, RECEIVER, STRANGER, PROMETHEUS, OUTBOX) == expected


def test_copies_of_a_process_with_both_roles_reach_each_other() -> None:
    """Its gateway calls another copy's ingest while its own cannot answer."""
    one = pods(trial("compact"))["gateway"]
    other = Place(name="other", address="10.244.9.9", namespace=NAMESPACE, labels=one.labels)
    assert {port for port in PORTS if may_reach(policies(trial("compact")), one, other, port)} == {50051}


@pytest.mark.parametrize(("layout", "former"), [("compact", "five"), ("five", "compact")])
def test_pods_of_another_layout_keep_their_connections_until_they_are_gone(layout: str, former: str) -> None:
    """Helm changes policies and Services at once, while those pods still drain."""
    for pod in pods(trial(former)).values():
        mine = [each for each in policies(trial(layout)) if selects(each, pod)]
        before = [each for each in policies(trial(former)) if selects(each, pod)]
        assert [each["spec"] for each in mine] == [each["spec"] for each in before], pod.name
    now, then = ([found["spec"] for found in rendering.of_kind(trial(each), "Service")] for each in (layout, former))
    assert now == then


def test_exactly_the_named_peers_are_open_with_everything_elsewhere() -> None:
    postgres, redis = Place(name="postgresql", address="10.0.5.7"), Place(name="redis", address="10.0.6.7")
    outbox = Place(name="outbox", address="10.0.7.7")
    expected = {arrow for arrow in ARROWS if arrow[0] != "senders" and arrow[1] != "receivers"}
    expected |= {(source, "postgresql", 5433) for source, target, _ in ARROWS if target == "postgresql"}
    expected |= {(source, "redis", 26379) for source, target, _ in ARROWS if target == "redis"}
    expected |= {("worker", "receivers", port) for port in (80, 443, 8443)}
    expected |= {("controller", "gateway", 8080), ("worker", "shop receiver", 8080), ("reports", "analytics", 50053)}
    expected |= {("checkout", "ingest", 50051), ("checkout", "delivery", 50052), ("checkout", "analytics", 50053)}
    expected |= {("prometheus", name, 9090) for name in WITH_METRICS}
    expected |= {(name, "collector", 4317) for name in WITH_METRICS}
    others = (
        RECEIVER,
        STRANGER,
        PROMETHEUS,
        COLLECTOR,
        CONTROLLER,
        CHECKOUT,
        SHOP_RECEIVER,
        REPORTS,
        postgres,
        redis,
        outbox,
    )
    assert opened(external(), *others) == expected


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_dns_is_open_only_to_pods_that_open_connections(protocol: str) -> None:
    objects = trial()
    asking = {
        name for name, pod in pods(objects).items() if may_reach(policies(objects), pod, DNS, 53, protocol=protocol)
    }
    assert asking == {source for source, *_ in ARROWS} - {"senders"}
    other = Place(name="pod", address="10.244.0.3", namespace="kube-system", labels={"k8s-app": "metrics-server"})
    for pod in pods(objects).values():
        assert not may_reach(policies(objects), pod, other, 53, protocol=protocol)
        assert not may_reach(policies(objects), pod, DNS, 8080, protocol=protocol)
    cache = Place(name="cache", address="169.254.20.10")
    assert may_reach(policies(external()), pods(external())["gateway"], cache, 53, protocol=protocol)
    assert not may_reach(policies(external()), pods(external())["worker"], cache, 443)


@pytest.mark.parametrize("address", [*PRIVATE, *API_SERVER])
def test_private_addresses_are_reached_by_no_pod(address: str) -> None:
    there = Place(name="there", address=address)
    for pod in pods(trial()).values():
        for port in PORTS:
            assert not may_reach(policies(trial()), pod, there, port), pod.name


def test_the_cluster_is_closed_to_workers_and_only_tcp_leaves_it() -> None:
    worker = pods(trial())["worker"]
    for pod in (STRANGER, PROMETHEUS, CHECKOUT, SHOP_RECEIVER, CONTROLLER):
        for port in PORTS:
            assert not may_reach(policies(trial()), worker, pod, port), pod.name
    assert not may_reach(policies(trial()), worker, RECEIVER, 443, protocol="UDP")
    assert may_reach(policies(trial()), worker, Place(name="v6", address="2606:2800:21f::1"), 443)
    assert may_reach(policies(trial()), worker, Place(name="nat64", address="64:ff9b::5db8:d70e"), 443)


def addresses(networks: list[str]) -> Iterator[str]:
    """Return both ends of networks and their neighbors, plain and wrapped by NAT64, and many others."""
    chance = random.Random(8)
    for network in map(ipaddress.ip_network, networks):
        first, last = int(network.network_address), int(network.broadcast_address)
        for number in {first, last, max(0, first - 1), min(last + 1, 2**network.max_prefixlen - 1)}:
            yield str(type(network.network_address)(number))
            if network.version == 4:
                yield f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}"
    for _ in range(2000):
        yield str(ipaddress.IPv4Address(chance.getrandbits(32)))
        yield str(ipaddress.IPv6Address(chance.getrandbits(128)))
        yield str(ipaddress.IPv6Address((1 << 125) | chance.getrandbits(125)))


def test_open_addresses_are_those_that_the_service_calls_public() -> None:
    """Except ISATAP, which is recognized by the end of an address, and is not a network."""
    blocks = [
        peer["ipBlock"]
        for policy in policies(trial())
        for rule in policy["spec"].get("egress", [])
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]
    assert len(blocks) == 3
    networks = [network for block in blocks for network in (block["cidr"], *block["except"])]
    worker, policy = pods(trial())["worker"], egress.Policy()
    seen = set()
    outside = ["fc00::/7", "fe80::/10", "::1/128", "64:ff9b:1::/48"]
    for address in itertools.chain(addresses([*networks, *outside]), PRIVATE):
        try:
            policy.check("a.example.com", 443, [address])
            public = True
        except egress.EgressDenied:
            public = False
        assert may_reach(policies(trial()), worker, Place(name="there", address=address), 443) is public, address
        seen.add(public)
    assert seen == {True, False}


def test_allowed_networks_are_open_only_to_workers() -> None:
    objects = external()
    open_to = {
        ("10.20.0.1", 443): True,
        ("10.20.255.255", 80): True,
        ("10.20.0.1", 8080): False,
        ("10.21.0.1", 443): False,
        ("10.30.0.5", 9200): True,
        ("10.30.0.5", 443): False,
        ("10.30.0.6", 9200): False,
        ("fd00:20::1", 443): True,
        ("fd00:21::1", 443): False,
        ("fd00:30::5", 9200): True,
        ("fd00:30::5", 443): False,
        ("fd00:30::6", 9200): False,
    }
    for (address, port), expected in open_to.items():
        there = Place(name="there", address=address)
        for name, pod in pods(objects).items():
            assert may_reach(policies(objects), pod, there, port) is (expected and name == "worker"), (address, port)


@pytest.mark.parametrize("entry", ["receiver.internal", "*.shop.svc.cluster.local", "receiver.internal:9200", "ab:80"])
def test_allowed_names_open_no_network(entry: str) -> None:
    assert policies(rendering.rendered(TRIAL | {"egressAllow": [entry]})) == policies(trial())


def notes(values: dict[str, Any]) -> str:
    """Return the notes of an install."""
    found = rendering.helm("install", "demo", str(rendering.CHART), "--dry-run=client", values=values).stdout
    assert "NOTES:" in found
    return found


def test_the_notes_name_what_is_let_in_by_name_and_still_closed() -> None:
    values = TRIAL | {"egressAllow": ["10.20.0.0/16", "[fd00::5]:9200", "receiver.internal", "ab:80"]}
    assert notes(values).rstrip().endswith("opens it: receiver.internal, ab:80")
    assert "opens it" not in notes(TRIAL)


@pytest.mark.parametrize(
    ("values", "opened"),
    [
        ({"autoscaling": {"enabled": True}}, "metricsClients"),
        ({"monitoring": {"prometheusRule": {"enabled": True}}}, "metricsClients"),
        ({"tracing": {"endpoint": "http://collector:4317"}}, "otlp.peers"),
        ({"oidc": rendering.OIDC}, "oidc.peers"),
    ],
)
def test_the_notes_name_what_is_asked_for_and_closed(values: dict[str, Any], opened: str) -> None:
    assert f"networkPolicy.{opened}" in notes(TRIAL | values)
    assert f"networkPolicy.{opened}" not in notes(rendering.STORES | values)
    everything = {"enabled": True, "metricsClients": [PEER], "otlp": {"peers": [PEER]}, "oidc": {"peers": [PEER]}}
    assert "networkPolicy." not in notes(rendering.STORES | values | {"networkPolicy": everything})


def test_only_ingest_reaches_the_issuer_and_only_if_there_is_one() -> None:
    there = Place(name="there", address="10.8.0.7")
    opened = {"enabled": True, "oidc": {"peers": [{"ipBlock": {"cidr": "10.8.0.7/32"}}], "ports": [8443]}}
    for oidc, reached in ((rendering.OIDC, {"ingest"}), ({}, set())):
        objects = rendering.rendered(rendering.STORES | {"networkPolicy": opened, "oidc": oidc})
        found = pods(objects)
        assert {name for name in found if may_reach(policies(objects), found[name], there, 8443)} == reached


def test_public_networks_can_be_closed_also_as_nat64_wraps_them() -> None:
    worker = pods(external())["worker"]
    for address in ("198.100.0.5", "64:ff9b::c664:5", "2600:1f00::5"):
        assert not may_reach(policies(external()), worker, Place(name="there", address=address), 443)
        assert may_reach(policies(trial()), worker, Place(name="there", address=address), 443)
    for address in ("198.100.1.5", "64:ff9b::c664:105", "2600:1f01::5"):
        assert may_reach(policies(external()), worker, Place(name="there", address=address), 443)


def test_workers_behind_a_proxy_reach_no_other_external_address() -> None:
    proxy = Place(name="proxy", address="10.9.0.1")
    values = copy.deepcopy(TRIAL) | {"egressAllow": ["10.20.0.0/16"]}
    values["networkPolicy"]["proxy"] = {"peers": [{"ipBlock": {"cidr": "10.9.0.1/32"}}]}
    objects = rendering.rendered(values)
    found = opened(objects, proxy, RECEIVER, OUTBOX, Place(name="private", address="10.20.0.1"))
    expected = {arrow for arrow in ARROWS if arrow[0] != "senders" and arrow[1] != "receivers"}
    expected |= {(name, "gateway", 8080) for name in ("proxy", "receivers", "private", "outbox")}
    # The proxy also gets the requests to the receiver of `helm test`.
    assert found == expected - {("worker", "test", 8080)} | {("proxy", "test", 8080)}
    assert {name for name, pod in pods(objects).items() if may_reach(policies(objects), pod, proxy, 3128)} == {"worker"}


def test_pods_are_denied_everything_by_default_and_have_a_policy_for_each_role() -> None:
    for layout, objects in (("five", trial()), ("five", external()), ("compact", trial("compact"))):
        for name, pod in pods(objects).items():
            about = [each for each in policies(objects) if selects(each, pod)]
            assert len(about) == 1 + len(rendering.LAYOUTS[layout].get(name, [name])), name
            for each in about:
                assert sorted(each["spec"]["policyTypes"]) == ["Egress", "Ingress"], name
            (deny,) = (each for each in about if each["metadata"]["name"].endswith("-default-deny"))
            assert deny["spec"].keys() == {"podSelector", "policyTypes"}


def test_policies_do_not_select_pods_of_other_releases_or_namespaces() -> None:
    other = rendering.rendered(TRIAL, release="other")
    renamed = rendering.rendered(TRIAL | {"nameOverride": "second"})
    elsewhere = pods(trial(), namespace="elsewhere").values()
    for policy in policies(trial()):
        assert policy["spec"]["podSelector"]["matchLabels"].keys() >= {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
        }
        assert policy["metadata"]["namespace"] == NAMESPACE
        for pod in (STRANGER, *pods(other).values(), *pods(renamed).values(), *elsewhere):
            assert not selects(policy, pod), policy["metadata"]["name"]


def test_releases_in_one_namespace_reach_only_each_others_gateway() -> None:
    other = rendering.rendered(TRIAL, release="other")
    both = policies(trial()) + policies(other)
    for source, target in itertools.product(pods(trial()).values(), pods(other).values()):
        for port in PORTS:
            assert not may_reach(both, source, target, port) or (target.name, port) == ("gateway", 8080)
            assert not may_reach(both, target, source, port) or (source.name, port) == ("gateway", 8080)


@pytest.mark.parametrize("layout", rendering.LAYOUTS)
def test_ports_of_pods_are_all_used_by_an_arrow_or_by_metrics(layout: str) -> None:
    """So that a new port is not forgotten here."""
    for name, template in rendering.pod_templates(trial(layout)):
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        ports = {port["containerPort"] for each in template["spec"]["containers"] for port in each.get("ports", [])}
        roles = rendering.LAYOUTS[layout].get(component, [component])
        expected = {port for _, target, port in ARROWS if target in roles}
        assert ports == expected | ({9090} if component in WITH_METRICS else set()), name


def test_components_that_are_off_have_no_policy() -> None:
    assert not policies(rendering.rendered(rendering.STORES))
    without = rendering.rendered(TRIAL | {"tests": {"enabled": False}, "migrations": {"enabled": False}})
    assert opened(without, RECEIVER) == opened(trial(), RECEIVER) - {
        arrow for arrow in opened(trial(), RECEIVER) if {"test", "migrate"} & set(arrow[:2])
    }
    for policy in policies(without):
        assert "test" not in str(policy["spec"])
        assert "migrate" not in str(policy["spec"])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"externalPostgresql": {"host": "db"}, "redis": {"enabled": True}}, "networkPolicy.postgresql.peers"),
        ({"externalRedis": {"addr": "redis:6379"}, "postgresql": {"enabled": True}}, "networkPolicy.redis.peers"),
    ],
)
def test_a_store_elsewhere_has_to_be_named(values: dict[str, Any], sentence: str) -> None:
    assert sentence in rendering.refused(values | ON)


@pytest.mark.parametrize(
    ("store", "values"),
    [
        ("postgresql", {"externalPostgresql": {"existingSecret": "s", "databaseUrlKey": "url"}}),
        ("redis", {"externalRedis": {"url": "redis+sentinel://sentinel:26379/mymaster"}}),
    ],
)
def test_ports_that_a_url_says_have_to_be_said(store: str, values: dict[str, Any]) -> None:
    peers = {"peers": [{"ipBlock": {"cidr": "10.0.0.5/32"}}]}
    stores = {"postgresql": {"enabled": store != "postgresql"}, "redis": {"enabled": store != "redis"}}
    why = rendering.refused(stores | values | {"networkPolicy": {"enabled": True, store: peers}})
    assert f"networkPolicy.{store}.ports" in why


def test_the_port_of_an_address_is_the_one_that_is_open() -> None:
    peers = {"peers": [{"ipBlock": {"cidr": "10.0.0.5/32"}}]}
    values = {
        "externalPostgresql": {"host": "db", "port": 5433},
        "externalRedis": {"addr": "redis:6380"},
        "networkPolicy": {"enabled": True, "postgresql": peers, "redis": peers},
    }
    objects = rendering.rendered(values)
    there = Place(name="there", address="10.0.0.5")
    worker, migrate = pods(objects)["worker"], pods(objects)["migrate"]
    assert [port for port in range(5000, 7000) if may_reach(policies(objects), worker, there, port)] == [5433, 6380]
    assert [port for port in range(5000, 7000) if may_reach(policies(objects), migrate, there, port)] == [5433]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"dns": {"peers": []}}, "peers"),
        ({"dns": {"ports": []}}, "ports"),
        ({"otlp": {"ports": []}}, "ports"),
        ({"oidc": {"ports": []}}, "ports"),
        ({"gatewayClients": [{}]}, "gatewayClients"),
        ({"grpcClients": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}, "grpcClients"),
        ({"metricsClients": [{"namespace": "monitoring"}]}, "namespace"),
        ({"postgresql": {"peers": [{"ipBlock": {"cidr": "postgres.internal"}}]}}, "cidr"),
        ({"worker": {"denyCidrs": ["fd00::/8"]}}, "denyCidrs"),
        ({"extraEgress": {"works": []}}, "works"),
    ],
)
def test_values_that_would_open_everything_or_nothing_are_refused(values: dict[str, Any], name: str) -> None:
    assert name in rendering.refused(rendering.STORES | {"networkPolicy": values})
