"""Target URLs that lead to private addresses, however they are spelled."""

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

import httpx
import pytest
import yarl
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from services.delivery.destinations.destination import SendError
from services.domain.egress import policy, targets
from services.domain.egress.policy import EgressDenied, Policy
from services.domain.states import AttemptOutcome
from tests.adversarial.conftest import Examples, Tally
from tests.delivery import sending
from tests.domain.egress import hostile
from tests.domain.egress.test_hostile_targets import Listeners, listening

# Targets as hypothesis makes them: private addresses in any spelling, and the table of hostile ones with changes.


PRIVATE_V4 = [
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
    )
]
PRIVATE_V6 = [
    ipaddress.IPv6Network(network)
    for network in (
        *("::/128", "::1/128", "100::/64", "2001::/32", "2001:db8::/32", "3fff::/20", "fc00::/7", "fe80::/10"),
        *("fec0::/10", "ff00::/8", "5f00::/16"),
    )
]
# What wraps an IPv4 address in one of IPv6: the bits before it, and those after it.
WRAPPINGS: Sequence[Callable[[int], int]] = (
    lambda wrapped: (0xFFFF << 32) | wrapped,  # IPv4-mapped
    lambda wrapped: wrapped,  # IPv4-compatible
    lambda wrapped: (0xFFFF << 48) | wrapped,  # IPv4-translated
    lambda wrapped: (0x64FF9B << 96) | wrapped,  # NAT64
    lambda wrapped: (0x2002 << 112) | (wrapped << 80),  # 6to4
    lambda wrapped: (0x2A00 << 112) | (0x5EFE << 32) | wrapped,  # ISATAP
)
# Digits that IDNA makes those of ASCII of: of full width, bold and sans-serif ones of mathematics.
DIGITS = ["0123456789", *("".join(chr(first + digit) for digit in range(10)) for first in (0xFF10, 0x1D7CE, 0x1D7E2))]
DOTS = [".", ".", ".", "\u3002", "\uff0e", "\uff61"]
PIECES = [
    *("@", "\\", "/", "?", "#", ":", "[", "]", "%00", "%2e", "%40", "\t", "\r\n", " ", "\x00", "\u200b", "\u00ad"),
    *(
        "..",
        "0x",
        "0",
        "localhost",
        "127.1",
        "::1",
        "http://",
        "example.com",
        "\u3002",
        "\uff0f",
        "\u2488",
        "xn--",
        "_",
    ),
]


def urls_of(host: str) -> st.SearchStrategy[str]:
    """URLs with this host. {port} is that of the listeners."""
    return st.builds(
        "{}://{}{}{}{}".format,
        st.sampled_from(["http", "HTTP", "hTTp"]),
        st.sampled_from(["", "", "", "", "user@", "example.com@", "example.com:80@"]),
        st.just(host),
        st.sampled_from([":{port}", ":{port}", ":0{port}"]),
        st.sampled_from(["/", "", "?a", "#@example.com/", "/..;/", "/%00", "/@example.com"]),
    )


@st.composite
def private(draw: st.DrawFn) -> str:
    """A URL whose host is an address that is not public, in one of its spellings."""
    kind = draw(st.sampled_from(["4", "4", "6", "wrapped"]))
    if kind == "4":
        host = draw(_spelt(draw(_in(PRIVATE_V4))))
    elif kind == "6":
        host = draw(_bracketed(draw(_in(PRIVATE_V6))))
    else:
        host = draw(_bracketed(draw(st.sampled_from(WRAPPINGS))(draw(_in(PRIVATE_V4)))))
    return draw(urls_of(host))


def altered() -> st.SearchStrategy[str]:
    """A URL of the table with some pieces put in, or in the place of something."""
    change = st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(PIECES) | st.text(max_size=2))
    return st.builds(_changed, st.sampled_from(hostile.ALL), st.lists(change, min_size=1, max_size=3))


def _changed(url: str, made: Sequence[tuple[float, int, str]]) -> str:
    for where, length, piece in made:
        begin = int(where * len(url))
        url = url[:begin] + piece + url[begin + length :]
    return url


def _in(networks: Sequence[ipaddress.IPv4Network] | Sequence[ipaddress.IPv6Network]) -> st.SearchStrategy[int]:
    ranges = [(int(network.network_address), int(network.broadcast_address)) for network in networks]
    return st.sampled_from(ranges).flatmap(lambda ends: st.integers(*ends))


@st.composite
def _spelt(draw: st.DrawFn, address: int) -> str:
    """As inet_aton reads it, one to four parts in bases of their own; and as IDNA does, in other digits and dots."""
    parts = draw(st.integers(1, 4))
    bytes_ = address.to_bytes(4)
    numbers = [*bytes_[: parts - 1], int.from_bytes(bytes_[parts - 1 :])]
    texts = [draw(st.sampled_from(["{:d}", "{:d}", "0{:o}", "00{:o}", "0x{:x}", "0X{:X}"])).format(n) for n in numbers]
    digits = str.maketrans("0123456789", draw(st.sampled_from(DIGITS)))
    text = draw(st.sampled_from(DOTS)).join(texts).translate(digits)
    return text + draw(st.sampled_from(["", "", "", "."]))


@st.composite
def _bracketed(draw: st.DrawFn, address: int) -> str:
    made = ipaddress.IPv6Address(address)
    last = ipaddress.IPv4Address(address & 0xFFFFFFFF)
    with_v4 = f"{':'.join(made.exploded.split(':')[:6])}:{last}"
    spelt = draw(st.sampled_from([made.compressed, made.exploded, made.exploded.upper(), with_v4]))
    return f"[{spelt}{draw(st.sampled_from(['', '', '', '%25lo', '%1']))}]"


# Made targets that are not public: refused by the rules of ingest, and by the worker's sender, which connects nowhere.
#
# Those that are changed at random may be public: of them it must hold that nobody reads a private address where we read
# something else.


PORT = 8080
STRICT = Policy.parse([])
# How other programs find the host of a URL; whatever one of them raises is a refusal.
READERS: tuple[Callable[[str], str | None], ...] = (
    lambda url: urlsplit(url).hostname,
    lambda url: yarl.URL(url).host,
    lambda url: httpx.URL(url).host,
)


def taken(url: str) -> targets.TargetUrl | None:
    """What ingest and the sender read in a URL; nothing when they refuse it."""
    try:
        target = targets.parse(url)
        STRICT.check_target(target.host, target.port)
    except (ValueError, EgressDenied):
        return None
    return target


def public(host: str) -> bool:
    """Whether a host is no address in any spelling, or a public one."""
    with contextlib.suppress(OSError):
        host = socket.inet_ntoa(socket.inet_aton(host.removesuffix(".")))
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_global
    return True


def judge(url: str) -> None:
    """A URL that is taken leads to what is public, whoever reads it."""
    target = taken(url)
    if target is None:
        return
    assert policy.is_address(target.host) or not target.host.removesuffix(".").rpartition(".")[2].isdigit(), url
    assert public(target.host), url
    for read in READERS:
        with contextlib.suppress(ValueError, UnicodeError, httpx.InvalidURL):
            assert public(read(url) or target.host), (url, read(url))


@pytest.fixture(scope="module")
def listeners() -> Iterator[Listeners]:
    with listening() as made:
        yield made


async def refuse(listeners: Listeners, urls: list[str]) -> None:
    """Each is refused by both, and nobody comes."""
    async with sending.sender(STRICT) as sender:
        for url in urls:
            assert taken(url) is None, url
            with pytest.raises(SendError) as raised:
                await sender.send(sending.post(url), timeout_seconds=5)
            assert raised.value.kind in {AttemptOutcome.EGRESS_DENIED, AttemptOutcome.INVALID_REQUEST}, url
    assert listeners.hits == []


def made_privately(port: int, cases: int, number: int) -> list[str]:
    """So many URLs of private targets."""
    found: list[str] = []

    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @seed(number)
    @given(private())
    def collect(url: str) -> None:
        found.append(url.replace("{port}", str(port)))

    collect()
    return found


def judge_altered(cases: int, number: int, tally: Tally) -> None:
    """Judge so many altered URLs."""

    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @seed(number)
    @given(altered())
    def judged(url: str) -> None:
        tally.add("targets, altered")
        judge(url.replace("{port}", str(PORT)))

    judged()


async def test_private_addresses_are_refused_in_every_spelling(
    listeners: Listeners, tally: Tally, examples: Examples
) -> None:
    urls = made_privately(listeners.port, examples(300, 5000), number=6)
    tally.add("targets, private", len(urls))
    await refuse(listeners, urls)


def test_altered_targets_lead_nowhere_private(tally: Tally, examples: Examples) -> None:
    judge_altered(examples(500, 20_000), 6, tally)


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:10.0.0.1]"])
def test_the_judge_would_see_it(host: str) -> None:
    assert not public(host.strip("[]"))
