"""A key's token bucket, on the test's clock."""

from types import SimpleNamespace

import pytest

from protos.webhook.v1 import access_pb2 as pb
from services.gateway.settings import GatewaySettings
from services.gateway.web import problems
from services.gateway.web.callers import Bucket, Callers
from services.gateway.web.retries import Retries
from services.platform.auth import keys
from services.platform.process import bounds


class Clock:
    """Replaces time.monotonic()."""

    def __init__(self) -> None:
        self.now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(bounds, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def taken(bucket: Bucket, times: int) -> int:
    """Return how many of the requests are allowed."""
    through = 0
    for _ in range(times):
        try:
            bucket.take()
        except problems.RateLimited:
            continue
        through += 1
    return through


@pytest.mark.parametrize(("told", "weight"), [(3, 3), (0, 1)], ids=["told", "by an ingest that tells none"])
async def test_caller_has_the_weight_of_its_tenant(told: int, weight: int) -> None:
    async def authenticate(_: pb.AuthenticateRequest, **__: object) -> pb.AuthenticateResponse:
        return pb.AuthenticateResponse(caller=pb.Caller(tenant_id="acme", role=pb.ROLE_INGEST, key_id="k", weight=told))

    callers = Callers(SimpleNamespace(Authenticate=authenticate), Retries(1.0), GatewaySettings())  # type: ignore[arg-type]
    assert (await callers.find(f"Bearer {keys.make()}".encode())).weight == weight


def test_a_burst_of_a_second_goes_through_and_then_the_rate(clock: Clock) -> None:
    bucket = Bucket(10)
    assert taken(bucket, 100) == 10
    clock.now += 0.5
    assert taken(bucket, 100) == 5
    clock.now += 3600
    assert taken(bucket, 100) == 10


def test_bucket_of_less_than_one_a_second_allows_one_and_returns_retry_after(clock: Clock) -> None:
    bucket = Bucket(0.1)
    assert taken(bucket, 5) == 1
    with pytest.raises(problems.RateLimited) as raised:
        bucket.take()
    assert raised.value.retry_after_seconds == 10
    assert problems.response(raised.value).headers["retry-after"] == "10"
    clock.now += 10
    assert taken(bucket, 5) == 1


def test_a_rate_next_to_nothing_asks_for_an_hour_at_most() -> None:
    bucket = Bucket(5e-324)
    bucket.take()
    with pytest.raises(problems.RateLimited) as refused:
        bucket.take()
    assert refused.value.retry_after_seconds == 3600


@pytest.mark.parametrize(
    ("per_second", "seconds", "policy", "left"),
    [
        (10, 0.0, "q=10;w=1", "r=7;t=1"),
        (2.5, 1.0, "q=2;w=1", "r=1;t=1"),
        (1, 0.0, "q=1;w=1", "r=0;t=1"),
        (0.1, 4.0, "q=1;w=10", "r=0;t=6"),
        (5e-324, 0.0, "q=1;w=1000000000", "r=0;t=1000000000"),
    ],
)
def test_the_fields_say_what_is_left_and_when_the_bucket_is_full(
    clock: Clock, per_second: float, seconds: float, policy: str, left: str
) -> None:
    """After three tries, the last one this many seconds after the others."""
    bucket = Bucket(per_second)
    taken(bucket, 2)
    clock.now += seconds
    taken(bucket, 1)
    assert dict(bucket.headers()) == {
        b"ratelimit-policy": f'"key";{policy}'.encode(),
        b"ratelimit": f'"key";{left}'.encode(),
    }
