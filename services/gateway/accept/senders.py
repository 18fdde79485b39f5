"""Senders without an API key: those with an ingest token, and providers that sign."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import grpc

from protos.webhook.v1 import ingest_pb2
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import events
from services.gateway.web import problems
from services.gateway.web.patience import Patience, Unanswered
from services.platform import errors
from services.platform.auth.known import Known

if TYPE_CHECKING:  # the asynchronous stubs exist for the type checker alone
    from protos.webhook.v1.subscriptions_pb2_grpc import SubscriptionServiceAsyncStub


# Which ingest tokens are right: asked of ingest before a body is read, and known for seconds. Ingest checks again.


_TOKEN = re.compile(r"whi_[A-Za-z0-9_-]{43}")


_WRONG = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}


class IngestTokens:
    """Looks them up."""

    def __init__(self, subscriptions: "SubscriptionServiceAsyncStub", patience: Patience) -> None:
        self._check = subscriptions.CheckIngestToken
        self._patience = patience
        self._known: Known[tuple[str, str], bool] = Known(self._ask, timeout_seconds=patience.timeout_seconds)

    async def check(self, subscription_id: str, token: str) -> None:
        """NotFound, as for a subscription that is unknown, unless it is the token of this one."""
        if _TOKEN.fullmatch(token):
            try:
                await self._known.find((subscription_id, token))
            except errors.Unauthenticated:
                pass
            except TimeoutError:
                raise errors.Unavailable("the ingest token cannot be looked up; try again") from None
            else:
                return
        raise errors.NotFound(f"no subscription {subscription_id}")

    async def _ask(self, names: tuple[str, str]) -> bool:
        subscription_id, token = names
        request = pb.CheckIngestTokenRequest(subscription_id=subscription_id, token=token)
        try:
            await self._patience.ask(self._check, request, self._patience.deadline())
        except Unanswered:
            raise errors.Unavailable("the ingest token cannot be looked up; try again") from None
        except grpc.aio.AioRpcError as error:
            if error.code() in _WRONG:
                raise errors.Unauthenticated("the ingest token is not valid") from None
            raise problems.refusal_of(error) from None
        return True


# Headers by which providers sign and name what they send, handed to ingest as they came: it knows whose to look at.


# Ingest refuses what is longer than this where it is looked at; everywhere else it does no harm.
MAX_HEADER_LENGTH = 1024


PROVIDER_HEADERS = frozenset(name.encode() for names in events.PROVIDER_HEADERS.values() for name in names)


def has_provider_headers(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request has any of them, its headers by name."""
    return not PROVIDER_HEADERS.isdisjoint(headers)


def provider_headers_of(headers: Iterable[tuple[bytes, bytes]]) -> list[ingest_pb2.ProviderHeader]:
    """Return those of a request; what is too long is cut to be longer still than ingest takes."""
    return [
        ingest_pb2.ProviderHeader(name=name.decode(), value=value[: MAX_HEADER_LENGTH + 1].decode("latin-1"))
        for name, value in headers
        if name in PROVIDER_HEADERS
    ]
