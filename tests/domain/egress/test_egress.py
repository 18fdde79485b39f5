"""Where deliveries may go."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.egress.policy import EgressDenied, Policy

NOTHING = Policy.parse([])

# Addresses that no delivery may reach, by their kind.
HOSTILE = {
    "loopback": ["127.0.0.1", "127.0.0.53", "127.255.255.254", "::1"],
    "this network": ["0.0.0.0", "0.1.2.3", "::"],
    "private": ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"],
    "link-local": ["169.254.0.1", "169.254.255.255", "fe80::1", "febf::1"],
    "metadata": [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
    ],
    "carrier-grade NAT": ["100.64.0.1", "100.127.255.255"],
    "protocol assignments": ["192.0.0.1", "192.0.0.170"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarking": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.254", "4000::1", "8000::1", "fc00::1:1", "1::1", "5f00::1"],
    "broadcast": ["255.255.255.255"],
    "unique local": ["fc00::1", "fd12:3456:789a::1", "fdff:ffff::1"],
    "site-local": ["fec0::1", "feff::1"],
    "discard-only": ["100::1"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1", "::ffff:0:0"],
    "IPv4-compatible": ["::127.0.0.1", "::10.0.0.1", "::a9fe:a9fe", "::8.8.8.8"],
    "IPv4-translated": ["::ffff:0:127.0.0.1", "::ffff:0:10.0.0.1"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "64:ff9b:1::7f00:1"],
    "6to4": ["2002:7f00:1::1", "2002:a00:1::1", "2002:808:808::1"],
    "6to4 relays": ["192.88.99.1"],
    "ISATAP": ["2a00:1450::5efe:10.0.0.1", "2a00:1450::200:5efe:127.0.0.1", "fe80::5efe:10.0.0.1"],
    "ORCHID": ["2001:10::1", "2001:20::1"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "zone ids": ["fe80::1%eth0", "::1%lo", "::ffff:127.0.0.1%1"],
}
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize("address", [address for group in HOSTILE.values() for address in group])
def test_an_address_that_is_not_public_is_denied(address: str) -> None:
    with pytest.raises(EgressDenied, match="a public address"):
        NOTHING.check("receiver.example", 443, [address])
    with pytest.raises(EgressDenied):
        NOTHING.check_target(address, 443)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    NOTHING.check("receiver.example", 443, [address])
    NOTHING.check_target(address, 443)


def test_name_with_one_address_that_is_not_public_is_denied() -> None:
    with pytest.raises(EgressDenied):
        NOTHING.check("receiver.example", 443, ["8.8.8.8", "2606:4700:4700::1111", "10.0.0.1"])


# Spellings that inet_aton reads as 127.0.0.1 or 10.0.0.1, and that strict parsers do not accept.
SPELLINGS = [
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "10.1",
    "0xa.0.0.1",
]


@pytest.mark.parametrize(
    "host", [*SPELLINGS, "1", "0x", "0X7F000001", "127.0.0.1.", "1.2.3.4.5", "receiver.example.1", "receiver.0x1f"]
)
def test_address_in_another_spelling_is_denied_before_it_is_resolved(host: str) -> None:
    """Clients read them as an address, and ask no resolver."""
    with pytest.raises(EgressDenied, match="not an address in the standard notation"):
        Policy.parse(["0.0.0.0/0"]).check_target(host, 80)


@pytest.mark.parametrize("host", ["fe80::1%", "::1%25lo", ":::", "1::2::3"])
def test_host_that_only_looks_like_an_ipv6_address_is_denied(host: str) -> None:
    with pytest.raises(EgressDenied):
        NOTHING.check_target(host, 80)


@pytest.mark.parametrize(
    "host",
    [
        "receiver.example", "127.0.0.1.example", "a1.example", "xn--bcher-kva.example", "receiver.example.",
        "local.example", "svc.example", "mylocal.net", "internal.example",
    ],
)  # fmt: skip
def test_a_name_of_the_internet_is_for_the_resolver_to_judge(host: str) -> None:
    NOTHING.check_target(host, 80)


LOCAL_NAMES = [
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain", "printer.local", "receiver",
    "receiver.", "metadata", "metadata.google.internal", "METADATA.Google.Internal.", "ip-10-0-0-1.ec2.internal",
    "kubernetes.default.svc", "receiver.shop.svc.cluster.local", "router.home.arpa", "wiki.intranet", "nas.lan",
]  # fmt: skip


@pytest.mark.parametrize("host", LOCAL_NAMES)
def test_a_local_name_is_denied_before_anything_resolves_it(host: str) -> None:
    with pytest.raises(EgressDenied, match="is a local name"):
        NOTHING.check_target(host, 80)


@pytest.mark.parametrize("host", ["receiver.shop.svc.cluster.local", "receiver", "metadata.google.internal"])
def test_a_local_name_needs_an_entry_that_names_it(host: str) -> None:
    Policy.parse([host]).check_target(host.upper(), 80)
    Policy.parse([f"{host}:80"]).check_target(host, 80)
    for entry in ("0.0.0.0/0", "::/0", f"{host}:81", f"x.{host}", f"*.{host}"):
        with pytest.raises(EgressDenied):
            Policy.parse([entry]).check_target(host, 80)


@pytest.mark.parametrize("entry", ["127.0.0.0/8", "::1", "localhost", "0.0.0.0/0"])
def test_localhost_is_allowed_where_loopback_is(entry: str) -> None:
    Policy.parse([entry]).check_target("localhost", 80)


def test_a_zone_allows_the_names_under_it_with_any_address() -> None:
    policy = Policy.parse(["*.shop.svc.cluster.local"])
    policy.check_target("a.shop.svc.cluster.local", 80)
    policy.check_target("A.B.shop.svc.cluster.local.", 80)
    policy.check("a.shop.svc.cluster.local", 80, ["10.0.0.1"])
    for other in ("shop.svc.cluster.local", "a.other.svc.cluster.local", "ashop.svc.cluster.local"):
        with pytest.raises(EgressDenied):
            policy.check_target(other, 80)


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("receiver.example", "receiver.example."), ("receiver.example.", "receiver.example."),
        ("Payments.Prod", "payments.prod."), ("notlocalhost.example", "notlocalhost.example."),
        ("localhost", "localhost"), ("a.localhost", "a.localhost"), ("receiver", "receiver"),
    ],
)  # fmt: skip
def test_the_system_is_asked_for_the_whole_name_which_no_search_list_makes_another_of(host: str, asked: str) -> None:
    for allow in ([], ["10.0.0.0/8", "0.0.0.0/0"], ["other.example", "x.payments.prod", "*.receiver.example"]):
        assert Policy.parse(allow).absolute(host, 80) == asked


@pytest.mark.parametrize("entry", ["receiver.shop.svc", "*.shop.svc", "receiver.shop.svc:9200", "Receiver.shop.svc."])
def test_a_name_that_an_entry_names_is_asked_for_as_it_is(entry: str) -> None:
    assert Policy.parse([entry]).absolute("receiver.shop.svc", 9200) == "receiver.shop.svc"
    assert Policy.parse([entry]).absolute("receiver.other.svc", 9200) == "receiver.other.svc."
    assert Policy.parse(["receiver.shop.svc:9200"]).absolute("receiver.shop.svc", 80) == "receiver.shop.svc."


@pytest.mark.parametrize("port", [7, 22, 25, 53, 445, 2375, 2379, 3306, 5432, 6379, 6443, 9200, 10250, 11211, 27017])
def test_a_port_of_something_else_is_denied(port: int) -> None:
    for host in ("receiver.example", "93.184.215.14", "2606:4700:4700::1111"):
        with pytest.raises(EgressDenied, match=f"port {port} "):
            NOTHING.check_target(host, port)


@pytest.mark.parametrize("port", [80, 81, 443, 3000, 4000, 5000, 7000, 8000, 8080, 8443, 8888, 9000, 9090, 9443, 65535])
def test_a_port_that_receivers_listen_on_is_not_denied(port: int) -> None:
    NOTHING.check_target("receiver.example", port)


def test_denied_port_is_allowed_only_by_an_entry_with_that_port() -> None:
    Policy.parse(["receiver.example:6379"]).check_target("receiver.example", 6379)
    for entry in ("receiver.example", "*.example", "0.0.0.0/0", "receiver.example:6380"):
        with pytest.raises(EgressDenied, match="port 6379"):
            Policy.parse([entry]).check_target("receiver.example", 6379)


@pytest.mark.parametrize(
    ("text", "denied", "not_denied"),
    [("none", [], [22, 6379]), ("8080", [8080], [22]), ("default,8500", [22, 8500], [8080]), (" 1 , 2,", [1, 2], [22])],
)
def test_the_list_of_ports_can_be_replaced_added_to_and_emptied(
    text: str, denied: list[int], not_denied: list[int]
) -> None:
    policy = Policy.parse([], text)
    assert policy.denied_ports.issuperset(denied)
    assert policy.denied_ports.isdisjoint(not_denied)


@pytest.mark.parametrize("text", ["0", "65536", "http", "22;25", "none,22", "-1", "20-25"])
def test_a_wrong_port_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="EGRESS_DENY_PORTS: "):
        Policy.parse([], text)


def test_error_message_does_not_show_the_resolved_address() -> None:
    with pytest.raises(EgressDenied) as raised:
        NOTHING.check("receiver.example", 80, ["10.11.12.13"])
    assert "10.11" not in str(raised.value)


@pytest.mark.parametrize(
    ("entry", "host", "port", "address"),
    [
        ("10.0.0.0/8", "receiver.example", 80, "10.1.2.3"),
        ("10.1.2.3", "receiver.example", 80, "10.1.2.3"),
        ("fd00::/8", "receiver.example", 80, "fd00::1"),
        ("::1/128", "::1", 80, "::1"),
        ("::1", "::1", 80, "::1"),
        ("[::1]", "::1", 80, "::1"),
        ("receiver.internal", "receiver.internal", 80, "10.0.0.1"),
        ("Receiver.Internal.", "receiver.internal", 80, "10.0.0.1"),
        ("receiver.internal", "RECEIVER.INTERNAL.", 80, "10.0.0.1"),
        ("receiver.internal:8080", "receiver.internal", 8080, "10.0.0.1"),
        ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1"),
        ("[::1]:8080", "::1", 8080, "::1"),
        ("[0:0:0:0:0:0:0:1]:8080", "::1", 8080, "::1"),
        ("[FD00::1]:8080", "fd00::1", 8080, "fd00::1"),
        ("127.0.0.0/8", "receiver.example", 80, "::ffff:127.0.0.1"),
    ],
)
def test_an_entry_allows_what_it_names(entry: str, host: str, port: int, address: str) -> None:
    Policy.parse([entry]).check(host, port, [address])


@pytest.mark.parametrize(
    ("entry", "host", "port", "address"),
    [
        ("10.0.0.0/8", "receiver.example", 80, "192.168.0.1"),
        ("10.1.2.3", "receiver.example", 80, "10.1.2.4"),
        ("receiver.internal", "other.internal", 80, "10.0.0.1"),
        ("receiver.internal", "a.receiver.internal", 80, "10.0.0.1"),
        ("receiver.internal:8080", "receiver.internal", 8081, "10.0.0.1"),
        ("127.0.0.1:8080", "127.0.0.1", 8081, "127.0.0.1"),
        ("127.0.0.1:8080", "receiver.example", 8080, "127.0.0.1"),
        ("[::1]:8080", "::1", 80, "::1"),
        ("::1/128", "receiver.example", 80, "127.0.0.1"),
    ],
)
def test_an_entry_allows_nothing_else(entry: str, host: str, port: int, address: str) -> None:
    with pytest.raises(EgressDenied):
        Policy.parse([entry]).check(host, port, [address])


def test_entries_together_allow_a_name_with_several_addresses() -> None:
    policy = Policy.parse(["10.0.0.0/8", "::1"])
    policy.check("receiver.example", 80, ["10.0.0.1", "::1", "8.8.8.8"])


@pytest.mark.parametrize(
    "entry",
    [
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.0/x",
        "http://receiver.internal",
        "receiver.internal/path",
        "receiver.internal:",
        "receiver.internal:http",
        "receiver.internal:0",
        "receiver.internal:65536",
        "receiver.internal:80:80",
        ":8080",
        "*",
        "*.",
        "*internal",
        "a.*.internal",
        "*.internal:80",
        "**.internal",
        "*.10.0.0.1",
        "two words",
        "[::1",
        "[::1]x",
        "[receiver]:80",
        "127.1",
        "127.0.0.256",
        "300.1.1.1:80",
        "a..b",
        "b\u00fccher.internal",
        "user@receiver.internal",
        "",
    ],
)
def test_a_wrong_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="EGRESS_ALLOW: ") as raised:
        Policy.parse(["10.0.0.0/8", entry])
    assert repr(entry) in str(raised.value)


@given(address=st.ip_addresses(v=4))
def test_ipv6_forms_that_wrap_a_denied_ipv4_address_are_denied(address: ipaddress.IPv4Address) -> None:
    try:
        NOTHING.check("receiver.example", 80, [str(address)])
    except EgressDenied:
        for head in ("::ffff:", "::", "64:ff9b::", "64:ff9b:1::", "::ffff:0:"):
            with pytest.raises(EgressDenied):
                NOTHING.check("receiver.example", 80, [f"{head}{address}"])


@given(address=st.ip_addresses(v=6))
def test_ipv6_addresses_are_public_only_if_global_unicast_or_wrapped_public_ipv4(
    address: ipaddress.IPv6Address,
) -> None:
    try:
        NOTHING.check("receiver.example", 80, [str(address)])
    except EgressDenied:
        return
    wrapped = address.ipv4_mapped or address in ipaddress.IPv6Network("64:ff9b::/96")
    assert wrapped or address in ipaddress.IPv6Network("2000::/3")
