"""Made targets that are not public: refused by the rules of ingest, and by the worker's sender, which connects nowhere.

Those that are changed at random may be public: of them it must hold that nobody reads a private address where we read
something else.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest
import yarl
from hypothesis import HealthCheck, given, seed, settings

from services.delivery.destinations.destination import Failure, SendError
from services.domain.egress import policy, targets
from services.domain.egress.policy import EgressDenied, Policy
from tests.adversarial.conftest import Examples
from tests.adversarial.tally import Tally
from tests.adversarial.targets import altered, private
from tests.delivery import sending
from tests.domain.egress.test_hostile_targets import Listeners, listening

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
            assert raised.value.kind in {Failure.EGRESS_DENIED, Failure.INVALID_REQUEST}, url
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
    """Judges so many altered URLs."""

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
