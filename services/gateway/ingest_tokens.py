"""Which ingest tokens are right: asked of ingest before a body is read, and known for seconds. Ingest checks again."""

import re
from typing import TYPE_CHECKING

import grpc

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.gateway import refusals
from services.gateway.patience import Patience, Unanswered
from services.platform import errors
from services.platform.auth.known import Known

if TYPE_CHECKING:  # the asynchronous stubs exist for the type checker alone
    from protos.webhook.v1.subscriptions_pb2_grpc import SubscriptionServiceAsyncStub

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
            raise refusals.of(error) from None
        return True
