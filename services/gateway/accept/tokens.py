"""Ingest tokens: ingest is asked about each before its request's body is read, and the result is kept for seconds.

Ingest checks the token again when it stores the event.
"""

import re
from typing import TYPE_CHECKING

import grpc

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.gateway.web import problems
from services.gateway.web.retries import Retries, Unanswered
from services.platform import errors
from services.platform.auth.known import Known

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.subscriptions_pb2_grpc import SubscriptionServiceAsyncStub

_TOKEN = re.compile(r"whi_[A-Za-z0-9_-]{43}")
_INVALID = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}


class IngestTokens:
    """Checks ingest tokens."""

    def __init__(self, subscriptions: "SubscriptionServiceAsyncStub", retries: Retries) -> None:
        self._check = subscriptions.CheckIngestToken
        self._retries = retries
        self._known: Known[tuple[str, str], bool] = Known(self._ask, timeout_seconds=retries.timeout_seconds)

    async def check(self, subscription_id: str, token: str) -> None:
        """Raise NotFound, as for an unknown subscription, unless this is the subscription's token."""
        if _TOKEN.fullmatch(token):
            try:
                await self._known.find((subscription_id, token))
            except errors.Unauthenticated:
                pass
            except TimeoutError:
                raise errors.Unavailable("the ingest token cannot be checked now; try again") from None
            else:
                return
        raise errors.NotFound(f"subscription {subscription_id} not found")

    async def _ask(self, names: tuple[str, str]) -> bool:
        subscription_id, token = names
        request = pb.CheckIngestTokenRequest(subscription_id=subscription_id, token=token)
        try:
            await self._retries.call(self._check, request, self._retries.deadline())
        except Unanswered:
            raise errors.Unavailable("the ingest token cannot be checked now; try again") from None
        except grpc.aio.AioRpcError as error:
            if error.code() in _INVALID:
                raise errors.Unauthenticated("the ingest token is not valid") from None
            raise problems.refusal_of(error) from None
        return True
