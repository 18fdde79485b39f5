"""The gRPC services in memory, on real servers and sockets, for responses that real services rarely give."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf import timestamp_pb2

from protos.webhook.v1 import (
    analytics_pb2,
    analytics_pb2_grpc,
    deliveries_pb2,
    deliveries_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    subscriptions_pb2,
    subscriptions_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
)
from services.platform import errors, ids
from services.platform.auth import keys
from services.platform.auth.authenticator import Authenticator
from services.platform.auth.identity import Identity
from services.platform.grpc import server as grpc_server
from services.platform.grpc.calls import Context
from services.platform.process.lifecycle import Process
from services.platform.settings import GrpcServerSettings

NOW = timestamp_pb2.Timestamp(seconds=1_773_500_966, nanos=535_250_000)
NAMES = (
    "webhook.v1.SubscriptionService",
    "webhook.v1.IngestService",
    "webhook.v1.DeliveryService",
    "webhook.v1.JobService",
    "webhook.v1.AnalyticsService",
    "webhook.v1.SystemService",
    "webhook.v1.QueueService",
)


def accept(item: ingest_pb2.IngestItem) -> ingest_pb2.IngestResult:
    """The response of ingest to an accepted event."""
    accepted = ingest_pb2.Accepted(
        event_id=item.event_id, delivery_id=str(ids.new()), status=ingest_pb2.INGEST_STATUS_PENDING, deliveries=1
    )
    return ingest_pb2.IngestResult(accepted=accepted)


async def _find(key: str) -> Identity:
    """Accept callers without keys."""
    raise keys.invalid()


def _take_spec(subscription: subscriptions_pb2.Subscription, asked: subscriptions_pb2.SubscriptionSpec) -> None:
    """Copy the fields of a request, as the real service does."""
    before, status = subscription.spec, subscription.status
    spec = subscriptions_pb2.SubscriptionSpec()
    spec.CopyFrom(asked)
    spec.keep_when_disabled = asked.keep_when_disabled if asked.HasField("keep_when_disabled") else True
    spec.kind = asked.kind or before.kind or subscriptions_pb2.SUBSCRIPTION_KIND_NORMAL
    spec.destination = asked.destination or before.destination or subscriptions_pb2.DESTINATION_HTTP
    spec.verification = asked.verification or before.verification or subscriptions_pb2.VERIFICATION_AUTO
    hmac = subscriptions_pb2.SIGNATURE_SCHEME_HMAC_SHA256
    spec.signature_scheme = asked.signature_scheme or before.signature_scheme or hmac
    if asked.signature_scheme == subscriptions_pb2.SIGNATURE_SCHEME_NONE:
        status.has_secret = False
    elif asked.HasField("secret_key"):
        status.has_secret = True
    if asked.HasField("headers"):
        status.header_names[:] = sorted(asked.headers.values)
    if asked.HasField("verification_secrets"):
        status.has_verification_secret = bool(asked.verification_secrets.values)
    if spec.HasField("retry_policy") and not (spec.retry_policy.delays_seconds or spec.retry_policy.name):
        filled = subscriptions_pb2.RetryPolicy(base_seconds=5, factor=2, cap_seconds=60, limit=3)
        filled.MergeFrom(spec.retry_policy)
        spec.retry_policy.CopyFrom(filled)
    status.effective_timeout_seconds = 15.0
    status.effective_retry_policy.CopyFrom(subscriptions_pb2.RetryPolicy(delays_seconds=[5, 300]))
    if asked.HasField("template_secrets"):
        status.template_secret_names[:] = sorted(asked.template_secrets.values)
    for name in ("secret_key", "headers", "verification_secrets", "client_certificate", "template_secrets"):
        spec.ClearField(name)
    before.CopyFrom(spec)


STATUSES = {
    subscriptions_pb2.SUBSCRIPTION_ACTION_ENABLE: subscriptions_pb2.SubscriptionStatus.STATUS_ACTIVE,
    subscriptions_pb2.SUBSCRIPTION_ACTION_DISABLE: subscriptions_pb2.SubscriptionStatus.STATUS_DISABLED,
    subscriptions_pb2.SUBSCRIPTION_ACTION_PAUSE: subscriptions_pb2.SubscriptionStatus.STATUS_PAUSED,
    subscriptions_pb2.SUBSCRIPTION_ACTION_RESUME: subscriptions_pb2.SubscriptionStatus.STATUS_ACTIVE,
    subscriptions_pb2.SUBSCRIPTION_ACTION_VERIFY: subscriptions_pb2.SubscriptionStatus.STATUS_UNVERIFIED,
}
TOKEN = "whi_" + "t" * 43


class Services(
    subscriptions_pb2_grpc.SubscriptionServiceServicer,
    ingest_pb2_grpc.IngestServiceServicer,
    deliveries_pb2_grpc.DeliveryServiceServicer,
    jobs_pb2_grpc.JobServiceServicer,
    analytics_pb2_grpc.AnalyticsServiceServicer,
    system_pb2_grpc.SystemServiceServicer,
    system_pb2_grpc.QueueServiceServicer,
):
    """Record requests, and respond as configured."""

    def __init__(self) -> None:
        self.port = 0
        self.reset()

    def reset(self) -> None:
        """Reset everything."""
        self.items: list[ingest_pb2.IngestItem] = []
        self.batch_sizes: list[int] = []
        self.result: Callable[[ingest_pb2.IngestItem], ingest_pb2.IngestResult] = accept
        self.requests: list[Any] = []
        # The tenant of each request.
        self.request_ids: list[str | None] = []
        # Raised by the next calls, one each; after that, calls succeed.
        self.failures: list[Exception] = []
        # Raised by every call.
        self.failure: Exception | None = None
        # Raised by the last page of a search.
        self.last_page: Exception | None = None
        self.delay_seconds = 0.0
        self.stored: dict[str, subscriptions_pb2.Subscription] = {}
        self.event = ingest_pb2.Event()
        self.routes: list[ingest_pb2.EventRoute] = []
        self.delivery = deliveries_pb2.Delivery()
        self.tested = deliveries_pb2.TestSubscriptionResponse()
        self.pulled = deliveries_pb2.PullDeliveriesResponse()
        # Results of retries that are not `delivery`, by id.
        self.retried: dict[str, deliveries_pb2.RetryResult] = {}
        self.job = jobs_pb2.Job(
            id=str(ids.new()),
            kind=jobs_pb2.JOB_KIND_RETRY,
            status=jobs_pb2.JOB_STATUS_QUEUED,
            counts=jobs_pb2.JobCounts(),
            created_at=NOW,
        )
        self.preview = jobs_pb2.PreviewJobResponse(counts=jobs_pb2.JobCounts(), token_expires_at=NOW)
        self.rendered = subscriptions_pb2.PreviewTemplateResponse()
        self.stats = analytics_pb2.Stats()
        self.series = analytics_pb2.GetStatsSeriesResponse()
        self.refusals = analytics_pb2.GetRefusalsResponse()
        # What gateways added.
        self.refused: list[analytics_pb2.RefusalCount] = []
        self.system = system_pb2.GetSystemResponse(
            looked_at=NOW, database=system_pb2.Database(version="18.1", migrated_at=NOW)
        )
        self.queue = system_pb2.GetQueueResponse(looked_at=NOW, redis=system_pb2.RedisStatus(doorbells=0))

    async def _called(self, request: object) -> None:
        self.requests.append(request)
        self.request_ids.append(ids.CURRENT_REQUEST_ID.get())
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.failures:
            raise self.failures.pop(0)
        if self.failure is not None:
            raise self.failure

    async def BatchIngest(self, request: Any, _context: Context) -> ingest_pb2.BatchIngestResponse:
        await self._called(request)
        self.items += request.items
        self.batch_sizes.append(len(request.items))
        return ingest_pb2.BatchIngestResponse(results=[self.result(item) for item in request.items])

    async def Ingest(self, request: Any, _context: Context) -> ingest_pb2.IngestResponse:
        raise NotImplementedError

    async def GetEvent(self, request: Any, _context: Context) -> ingest_pb2.GetEventResponse:
        await self._called(request)
        return ingest_pb2.GetEventResponse(event=self.event)

    async def CancelEvent(self, request: Any, _context: Context) -> ingest_pb2.CancelEventResponse:
        await self._called(request)
        return ingest_pb2.CancelEventResponse(event_id=request.event_id)

    async def ListEventRoutes(self, request: Any, _context: Context) -> ingest_pb2.ListEventRoutesResponse:
        await self._called(request)
        return ingest_pb2.ListEventRoutesResponse(routes=self.routes, next_page_token="more")

    async def CheckFilter(self, request: Any, _context: Context) -> ingest_pb2.CheckFilterResponse:
        await self._called(request)
        result = ingest_pb2.FilterResult(
            event_id=(request.event_ids or [""])[0],
            verdict=ingest_pb2.FILTER_VERDICT_NO_MATCH,
            explanation="event.data.amount > 100",
        )
        return ingest_pb2.CheckFilterResponse(results=[result])

    async def ListEvents(self, request: Any, _context: Context) -> ingest_pb2.ListEventsResponse:
        await self._called(request)
        return ingest_pb2.ListEventsResponse(
            events=[self.event], next_page_token=self._next(request), from_time=NOW, scanned_to=NOW
        )

    def StreamEvents(self, request: Any, context: Context) -> AsyncIterator[ingest_pb2.StreamEventsResponse]:
        raise NotImplementedError

    async def CreateSubscription(self, request: Any, _context: Context) -> subscriptions_pb2.CreateSubscriptionResponse:
        await self._called(request)
        status = subscriptions_pb2.SubscriptionStatus(
            has_secret=True,
            etag="1",
            status=subscriptions_pb2.SubscriptionStatus.STATUS_ACTIVE,
            status_since=NOW,
            breaker=subscriptions_pb2.Breaker(state=subscriptions_pb2.BREAKER_STATE_CLOSED),
            created_at=NOW,
            updated_at=NOW,
        )
        subscription = subscriptions_pb2.Subscription(id=str(ids.new()), tenant_id=request.tenant_id, status=status)
        _take_spec(subscription, request.spec)
        self.stored[subscription.id] = subscription
        made = "" if not subscription.status.has_secret or request.spec.HasField("secret_key") else "whsec_bWFkZQ=="
        return subscriptions_pb2.CreateSubscriptionResponse(subscription=subscription, secret_key=made)

    async def TestNewSubscription(
        self, request: Any, _context: Context
    ) -> subscriptions_pb2.TestNewSubscriptionResponse:
        await self._called(request)
        return subscriptions_pb2.TestNewSubscriptionResponse(webhook_id=self.tested.webhook_id)

    async def PreviewTemplate(self, request: Any, _context: Context) -> subscriptions_pb2.PreviewTemplateResponse:
        await self._called(request)
        return self.rendered

    async def GetSubscription(self, request: Any, _context: Context) -> subscriptions_pb2.GetSubscriptionResponse:
        await self._called(request)
        return subscriptions_pb2.GetSubscriptionResponse(subscription=self._subscription(request.subscription_id))

    async def ListSubscriptions(self, request: Any, _context: Context) -> subscriptions_pb2.ListSubscriptionsResponse:
        await self._called(request)
        found = list(self.stored.values())
        page = found[: request.page_size]
        token = "next" if len(found) > len(page) else ""
        return subscriptions_pb2.ListSubscriptionsResponse(subscriptions=page, next_page_token=token)

    async def UpdateSubscription(self, request: Any, _context: Context) -> subscriptions_pb2.UpdateSubscriptionResponse:
        await self._called(request)
        subscription = self._subscription(request.subscription_id)
        _take_spec(subscription, request.spec)
        return subscriptions_pb2.UpdateSubscriptionResponse(subscription=subscription)

    async def DeleteSubscription(self, request: Any, _context: Context) -> subscriptions_pb2.DeleteSubscriptionResponse:
        await self._called(request)
        del self.stored[self._subscription(request.subscription_id).id]
        return subscriptions_pb2.DeleteSubscriptionResponse(cancelled_deliveries=0)

    async def CheckIngestToken(self, request: Any, _context: Context) -> subscriptions_pb2.CheckIngestTokenResponse:
        await self._called(request)
        if request.token != TOKEN:
            raise errors.NotFound("no such token")
        return subscriptions_pb2.CheckIngestTokenResponse(weight=3)

    async def SetSubscriptionStatus(
        self, request: Any, _context: Context
    ) -> subscriptions_pb2.SetSubscriptionStatusResponse:
        await self._called(request)
        subscription = self._subscription(request.subscription_id)
        subscription.status.status = STATUSES[request.action]
        return subscriptions_pb2.SetSubscriptionStatusResponse(subscription=subscription)

    async def RotateSubscriptionSecret(
        self, request: Any, _context: Context
    ) -> subscriptions_pb2.RotateSubscriptionSecretResponse:
        await self._called(request)
        subscription = self._subscription(request.subscription_id)
        subscription.status.previous_secrets.insert(0, subscriptions_pb2.PreviousSecret(expires_at=NOW))
        made = "" if request.HasField("secret_key") else "whsec_bmV3"
        return subscriptions_pb2.RotateSubscriptionSecretResponse(subscription=subscription, secret_key=made)

    async def CreateIngestToken(self, request: Any, _context: Context) -> subscriptions_pb2.CreateIngestTokenResponse:
        await self._called(request)
        self._subscription(request.subscription_id).status.has_ingest_token = True
        return subscriptions_pb2.CreateIngestTokenResponse(token="whi_token")

    async def DeleteIngestToken(self, request: Any, _context: Context) -> subscriptions_pb2.DeleteIngestTokenResponse:
        await self._called(request)
        self._subscription(request.subscription_id).status.has_ingest_token = False
        return subscriptions_pb2.DeleteIngestTokenResponse()

    def _subscription(self, subscription_id: str) -> subscriptions_pb2.Subscription:
        if subscription_id not in self.stored:
            raise errors.NotFound(f"there is no subscription {subscription_id}")
        return self.stored[subscription_id]

    async def GetDelivery(self, request: Any, _context: Context) -> deliveries_pb2.GetDeliveryResponse:
        await self._called(request)
        return deliveries_pb2.GetDeliveryResponse(delivery=self.delivery)

    async def ListDeliveries(self, request: Any, _context: Context) -> deliveries_pb2.ListDeliveriesResponse:
        await self._called(request)
        return deliveries_pb2.ListDeliveriesResponse(deliveries=[self.delivery], next_page_token="more")

    async def SearchDeliveries(self, request: Any, _context: Context) -> deliveries_pb2.SearchDeliveriesResponse:
        await self._called(request)
        return deliveries_pb2.SearchDeliveriesResponse(
            deliveries=[self.delivery], next_page_token=self._next(request), from_time=NOW, scanned_to=NOW
        )

    def StreamDeliveries(
        self, request: Any, context: Context
    ) -> AsyncIterator[deliveries_pb2.StreamDeliveriesResponse]:
        raise NotImplementedError

    def Watch(self, request: Any, context: Context) -> AsyncIterator[deliveries_pb2.WatchResponse]:
        raise NotImplementedError

    async def SummarizeDeliveries(self, request: Any, _context: Context) -> deliveries_pb2.SummarizeDeliveriesResponse:
        await self._called(request)
        counts = [
            deliveries_pb2.DeliveryCount(value="timeout", deliveries=3),
            deliveries_pb2.DeliveryCount(deliveries=1),
        ]
        return deliveries_pb2.SummarizeDeliveriesResponse(groups=counts, from_time=NOW)

    def _next(self, request: Any) -> str:
        """Return the token of the next page: there are three, unless the last one fails."""
        if request.page_token == "last" and self.last_page is not None:
            raise self.last_page
        return {"": "more", "more": "last", "last": ""}.get(request.page_token, "more")

    async def RetryDelivery(self, request: Any, _context: Context) -> deliveries_pb2.RetryDeliveryResponse:
        await self._called(request)
        return deliveries_pb2.RetryDeliveryResponse(delivery=self.delivery)

    async def BatchRetryDeliveries(
        self, request: Any, _context: Context
    ) -> deliveries_pb2.BatchRetryDeliveriesResponse:
        await self._called(request)
        results = [
            self.retried.get(name) or deliveries_pb2.RetryResult(delivery=self.delivery)
            for name in request.delivery_ids
        ]
        return deliveries_pb2.BatchRetryDeliveriesResponse(results=results)

    async def CancelDelivery(self, request: Any, _context: Context) -> deliveries_pb2.CancelDeliveryResponse:
        await self._called(request)
        return deliveries_pb2.CancelDeliveryResponse(delivery=self.delivery)

    async def TestSubscription(self, request: Any, _context: Context) -> deliveries_pb2.TestSubscriptionResponse:
        await self._called(request)
        self._subscription(request.subscription_id)
        return self.tested

    async def GetSubscriptionTest(self, request: Any, _context: Context) -> deliveries_pb2.GetSubscriptionTestResponse:
        await self._called(request)
        return deliveries_pb2.GetSubscriptionTestResponse(attempt=self.tested.attempt)

    async def PullDeliveries(self, request: Any, _context: Context) -> deliveries_pb2.PullDeliveriesResponse:
        await self._called(request)
        self._subscription(request.subscription_id)
        return self.pulled

    def Pull(self, request: Any, _context: Context) -> AsyncIterator[deliveries_pb2.PullResponse]:
        raise NotImplementedError  # a gateway does not call it

    async def Report(self, request: Any, _context: Context) -> deliveries_pb2.ReportResponse:
        await self._called(request)
        return deliveries_pb2.ReportResponse(
            results=[
                deliveries_pb2.ReportedResult(
                    delivery_id=result.delivery_id, status=deliveries_pb2.PULL_RESULT_STATUS_RECORDED
                )
                for result in request.results
            ]
        )

    async def PreviewJob(self, request: Any, _context: Context) -> jobs_pb2.PreviewJobResponse:
        await self._called(request)
        return self.preview

    async def CreateJob(self, request: Any, _context: Context) -> jobs_pb2.CreateJobResponse:
        await self._called(request)
        return jobs_pb2.CreateJobResponse(job=self.job, replayed=request.idempotency_key == "again")

    async def GetJob(self, request: Any, _context: Context) -> jobs_pb2.GetJobResponse:
        await self._called(request)
        return jobs_pb2.GetJobResponse(job=self.job)

    async def ListJobs(self, request: Any, _context: Context) -> jobs_pb2.ListJobsResponse:
        await self._called(request)
        return jobs_pb2.ListJobsResponse(jobs=[self.job], next_page_token="more")

    async def PauseJob(self, request: Any, _context: Context) -> jobs_pb2.PauseJobResponse:
        await self._called(request)
        return jobs_pb2.PauseJobResponse(job=self.job)

    async def ResumeJob(self, request: Any, _context: Context) -> jobs_pb2.ResumeJobResponse:
        await self._called(request)
        return jobs_pb2.ResumeJobResponse(job=self.job)

    async def CancelJob(self, request: Any, _context: Context) -> jobs_pb2.CancelJobResponse:
        await self._called(request)
        return jobs_pb2.CancelJobResponse(job=self.job)

    async def GetStats(self, request: Any, _context: Context) -> analytics_pb2.GetStatsResponse:
        await self._called(request)
        return analytics_pb2.GetStatsResponse(stats=self.stats)

    async def GetStatsSeries(self, request: Any, _context: Context) -> analytics_pb2.GetStatsSeriesResponse:
        await self._called(request)
        return self.series

    async def GetRefusals(self, request: Any, _context: Context) -> analytics_pb2.GetRefusalsResponse:
        await self._called(request)
        return self.refusals

    async def AddRefusals(self, request: Any, _context: Context) -> analytics_pb2.AddRefusalsResponse:
        await self._called(request)
        self.refused += request.counts
        return analytics_pb2.AddRefusalsResponse()

    async def GetSystem(self, request: Any, _context: Context) -> system_pb2.GetSystemResponse:
        await self._called(request)
        return self.system

    async def NoteProcess(self, request: Any, _context: Context) -> system_pb2.NoteProcessResponse:
        raise NotImplementedError

    async def GetQueue(self, request: Any, _context: Context) -> system_pb2.GetQueueResponse:
        await self._called(request)
        return self.queue

    def register(self, server: grpc.aio.Server) -> None:
        """Add all services to a server."""
        subscriptions_pb2_grpc.add_SubscriptionServiceServicer_to_server(self, server)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(self, server)
        deliveries_pb2_grpc.add_DeliveryServiceServicer_to_server(self, server)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(self, server)
        analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(self, server)
        system_pb2_grpc.add_SystemServiceServicer_to_server(self, server)
        system_pb2_grpc.add_QueueServiceServicer_to_server(self, server)

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[None]:
        """Serve on a port of 127.0.0.1, 0 for a free one, as the real services do."""
        process = Process("fake")
        settings = GrpcServerSettings(grpc_port=port, metrics_port=0, shutdown_grace_seconds=0.2, bind_host="127.0.0.1")
        authenticator = Authenticator(settings, _find, _find)
        async with grpc_server.serving(process, settings, NAMES, self.register, authenticator) as self.port:
            yield
        await process.cancel_all()
