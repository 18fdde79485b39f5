"""Each method of the roles that are called, near and far: what its caller and its servicer see is the same."""

import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio
from google.protobuf import message_factory
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from prometheus_client import REGISTRY

from dev.embedded import ports
from dev.harness.keys import ADMIN_KEY, ENCRYPTION_KEY, SERVICE_KEY
from dev.harness.stores import Stores
from dev.harness.waiting import wait_until
from protos.webhook.v1 import (
    access_pb2,
    analytics_pb2,
    audit_pb2,
    catalog_pb2,
    deliveries_pb2,
    ingest_pb2,
    jobs_pb2,
    subscriptions_pb2,
    system_pb2,
)
from services.analytics import __main__ as analytics
from services.analytics.settings import AnalyticsSettings
from services.delivery import __main__ as delivery
from services.delivery.queue import service as queue
from services.delivery.settings import DeliverySettings
from services.ingest import __main__ as ingest
from services.ingest.settings import IngestSettings
from services.ingest.system import service as system
from services.platform import ids
from services.platform.auth import identity, roles
from services.platform.grpc import calls, client
from services.platform.grpc import errors as grpc_errors
from services.platform.process import lifecycle, logs, shares
from services.platform.process.whole import Whole
from services.platform.tracing import spans
from services.platform.tracing.settings import TracingDoorSettings
from services.platform.tracing.spans import Parent, Tracer
from tests.platform.auth.test_auth import methods
from tests.platform.tracing.recording import Kept, Recording

SETTINGS = {"ingest": IngestSettings, "delivery": DeliverySettings, "analytics": AnalyticsSettings}
# Statistics change at the start alone, and not between the calls that are compared.
ONLY_OF = {"analytics": {"rollup_interval_seconds": 3600.0}}
SERVES: Mapping[str, Any] = {"ingest": ingest.serve, "delivery": delivery.serve, "analytics": analytics.serve}
ROLE_OF = {
    "DeliveryService": "delivery",
    "JobService": "delivery",
    "QueueService": "delivery",
    "AnalyticsService": "analytics",
}
DESCRIPTORS = {f"/{method.containing_service.full_name}/{method.name}": method for method in methods()}
REQUEST_ID = "the-request-of-this-test"
# What differs between any two calls of a method.
VARYING = re.compile(
    r"[0-9a-f]{8}-[0-9a-f-]{27}"  # ids
    r"|whk_[\w-]+|wh[lp]_[\w-]+|whsec_[\w+/=-]+|whi_[\w-]+"
    r"|token: \"[^\"]+\"|secret_key: \"[^\"]+\"|key: \"[^\"]+\"|etag: \"[^\"]+\""
    r"|(?:seconds|nanos): \d+|prefix: \"[^\"]+\"|tenant-\d+|near\.\d+"
)


@dataclass(kw_only=True)
class Served:
    """Three roles in one process, and how they are called."""

    pool: Any
    near: Mapping[str, grpc.aio.Channel]
    far: Mapping[str, grpc.aio.Channel]
    # What servicers saw of the calls since the last look.
    seen: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0

    async def call(
        self, channels: Mapping[str, grpc.aio.Channel], method: str, request: Message, **options: Any
    ) -> Any:
        """Call a method as a gateway does, for the bootstrap key."""
        descriptor = DESCRIPTORS[method]
        answer_class = message_factory.GetMessageClass(descriptor.output_type)
        channel: Any = channels[ROLE_OF.get(descriptor.containing_service.name, "ingest")]
        call = (channel.unary_stream if descriptor.server_streaming else channel.unary_unary)(
            method, request_serializer=type(request).SerializeToString, response_deserializer=answer_class.FromString
        )
        answer = call(request, **{"timeout": 60, "metadata": ACTOR} | options)
        return [each async for each in answer] if descriptor.server_streaming else await answer

    async def prepared(self, method: str, request: Message) -> Any:
        """Call a method of the same name for what a case needs."""
        return await self.call(self.far, method, request)


ACTOR = (("webhook-actor", identity.BOOTSTRAP_KEY_ID), ("webhook-caller-key", ADMIN_KEY))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(stores: Stores) -> AsyncIterator[Served]:
    """The roles, with keys and with tracing."""
    patch = pytest.MonkeyPatch()
    common: dict[str, Any] = {
        "env": "development",
        "redis_url": stores.redis_url(),
        "auth_required": True,
        "service_key": SERVICE_KEY,
        "bootstrap_admin_key": ADMIN_KEY,
        "encryption_keys": ENCRYPTION_KEY,
        "metrics_port": 0,
    }
    # What operators look at does not change between the calls that are compared.
    for module in (queue, system):
        patch.setattr(module, "FRESH_SECONDS", 3600.0)
    whole = Whole(tuple(SERVES), servers=len(SERVES))
    numbers = dict(zip(SERVES, ports.free_ports(len(SERVES)), strict=True))
    async with contextlib.AsyncExitStack() as stack:
        database_url = stack.enter_context(stores.database())
        stack.callback(patch.undo)
        stack.push_async_callback(whole.cancel_all)
        near: dict[str, grpc.aio.Channel] = {}
        far: dict[str, grpc.aio.Channel] = {}
        for role, serve in SERVES.items():
            process = lifecycle.Process(role, Tracer(Recording(), TracingDoorSettings(_env_file=None)), whole=whole)
            changes = common | ONLY_OF.get(role, {}) | {"database_url": database_url, "grpc_port": numbers[role]}
            settings = SETTINGS[role](**changes, _env_file=None)
            await stack.enter_async_context(serve(process, settings))
            for channels, here in ((near, process.near(role)), (far, None)):
                channels[role] = await stack.enter_async_context(
                    client.channel(f"127.0.0.1:{numbers[role]}", service_key=SERVICE_KEY, near=here)
                )

        async def is_ready() -> bool:
            failures, _ = await whole.health.state()
            return not failures

        await wait_until(is_ready, what="readiness of all roles")
        pool = await stack.enter_async_context(asyncpg.create_pool(database_url, min_size=0, max_size=2))
        made = Served(pool=pool, near=near, far=far)
        respond = calls._Acting._respond

        async def watched(self: Any, context: Any, request: Any) -> Any:
            span = spans.CURRENT.get()
            made.seen.append(
                {
                    "method": self._method,
                    "request": VARYING.sub("*", str(request)),
                    "role": logs.ROLE.get("none"),
                    "caller": identity.CALLER.get(),
                    "owner": shares.OWNER.get(),
                    "request_id": ids.CURRENT_REQUEST_ID.get(),
                    "traced": span is not None,
                }
            )
            return await respond(self, context, request)

        patch.setattr(calls._Acting, "_respond", watched)
        yield made
    assert not whole.failed


# -- a request for each method, with what it needs --

Made = Callable[[Served], Awaitable[Message]]


async def subscription(served: Served) -> str:
    """Create a subscription and return its id."""
    request = subscriptions_pb2.CreateSubscriptionRequest(
        spec=subscriptions_pb2.SubscriptionSpec(target_url="http://127.0.0.1:9/hook")
    )
    answer = await served.prepared("/webhook.v1.SubscriptionService/CreateSubscription", request)
    return str(answer.subscription.id)


async def accepted(served: Served) -> ingest_pb2.Accepted:
    """Accept an event, and return its ids."""
    request = ingest_pb2.IngestRequest(item=await item(served))
    answer: ingest_pb2.IngestResponse = await served.prepared("/webhook.v1.IngestService/Ingest", request)
    return answer.accepted


async def item(served: Served) -> ingest_pb2.IngestItem:
    """Return an event for a new subscription."""
    return ingest_pb2.IngestItem(
        subscription_id=await subscription(served), content_type="application/json", payload=b"{}"
    )


async def tenant(served: Served) -> str:
    """Create a tenant and return its id."""
    served.number += 1
    request = access_pb2.CreateTenantRequest(id=f"tenant-{served.number}")
    answer = await served.prepared("/webhook.v1.AccessService/CreateTenant", request)
    return str(answer.tenant.id)


async def key(served: Served) -> access_pb2.CreateApiKeyResponse:
    """Create a key."""
    request = access_pb2.CreateApiKeyRequest(tenant_id="default", name="a test's", role=access_pb2.ROLE_READ)
    answer: access_pb2.CreateApiKeyResponse = await served.prepared("/webhook.v1.AccessService/CreateApiKey", request)
    return answer


async def session(served: Served) -> access_pb2.CreatedSession:
    """Start a session."""
    request = access_pb2.CreateSessionRequest(key=(await key(served)).key)
    answer: access_pb2.CreateSessionResponse = await served.prepared("/webhook.v1.AccessService/CreateSession", request)
    return answer.created


LINK = access_pb2.CreatePortalLinkRequest(capabilities=[access_pb2.PORTAL_CAPABILITY_VIEW])


async def link(served: Served) -> access_pb2.CreatePortalLinkResponse:
    """Create a portal link."""
    answer: access_pb2.CreatePortalLinkResponse = await served.prepared(
        "/webhook.v1.AccessService/CreatePortalLink", LINK
    )
    return answer


async def event_type(served: Served) -> str:
    """Create an event type, and return its id."""
    served.number += 1
    request = catalog_pb2.CreateEventTypeRequest(
        name=f"near.{served.number}", version=catalog_pb2.EventTypeVersionSpec(schema="{}")
    )
    answer = await served.prepared("/webhook.v1.CatalogService/CreateEventType", request)
    made: str = answer.event_type.id
    return made


async def new_event_type(served: Served) -> Message:
    """Return a request for an event type that does not exist."""
    served.number += 1
    spec = catalog_pb2.EventTypeVersionSpec(schema='{"type": "object"}')
    return catalog_pb2.CreateEventTypeRequest(name=f"near.{served.number}", version=spec)


def of_event_type(cls: Any, **fields: Any) -> Made:
    """Return what makes a request about a new event type."""

    async def make(served: Served) -> Message:
        made: Message = cls(event_type_id=await event_type(served), **fields)
        return made

    return make


def of_subscription(cls: Any, **fields: Any) -> Made:
    """Return what makes a request about a new subscription."""

    async def make(served: Served) -> Message:
        made: Message = cls(subscription_id=await subscription(served), **fields)
        return made

    return make


def of_event(cls: Any, name: str) -> Made:
    """Return what makes a request about a new event or its delivery."""

    async def make(served: Served) -> Message:
        made: Message = cls(**{name: getattr(await accepted(served), name)})
        return made

    return make


def always(request: Message) -> Made:
    """Return what makes this request."""

    async def make(_: Served) -> Message:
        return request

    return make


def made_by(make: Callable[[Served], Awaitable[Any]], build: Callable[[Any], Message]) -> Made:
    """Return what makes a request of something new."""

    async def made(served: Served) -> Message:
        return build(await make(served))

    return made


async def new_tenant(served: Served) -> Message:
    """Return a request for a tenant that does not exist."""
    served.number += 1
    return access_pb2.CreateTenantRequest(id=f"tenant-{served.number}")


NOTHING = "019ced7a-4be1-7d20-91f3-6a0c8e5d2b17"


def _retry_of(subscription_id: str) -> dict[str, Any]:
    """Return a job that has nothing to do."""
    wanted = deliveries_pb2.DeliveryFilter(subscription_id=[subscription_id])
    return {"kind": jobs_pb2.JOB_KIND_RETRY, "filter": wanted}


SPEC = subscriptions_pb2.SubscriptionSpec(target_url="http://127.0.0.1:9/hook", description="a test's")
CASES: Mapping[str, Made] = {
    "IngestService/Ingest": made_by(item, lambda made: ingest_pb2.IngestRequest(item=made)),
    "IngestService/BatchIngest": made_by(item, lambda made: ingest_pb2.BatchIngestRequest(items=[made, made])),
    "IngestService/GetEvent": of_event(ingest_pb2.GetEventRequest, "event_id"),
    "IngestService/ListEventRoutes": always(ingest_pb2.ListEventRoutesRequest(event_id=NOTHING)),
    "IngestService/CancelEvent": always(ingest_pb2.CancelEventRequest(event_id=NOTHING)),
    "IngestService/CheckFilter": always(
        ingest_pb2.CheckFilterRequest(filter="true", event=ingest_pb2.TriedEvent(payload=b"{}"))
    ),
    "IngestService/ListEvents": always(ingest_pb2.ListEventsRequest(page_size=1)),
    "IngestService/StreamEvents": always(ingest_pb2.StreamEventsRequest()),
    "SubscriptionService/CreateSubscription": always(subscriptions_pb2.CreateSubscriptionRequest(spec=SPEC)),
    "SubscriptionService/GetSubscription": of_subscription(subscriptions_pb2.GetSubscriptionRequest),
    "SubscriptionService/ListSubscriptions": always(subscriptions_pb2.ListSubscriptionsRequest(page_size=1)),
    "SubscriptionService/UpdateSubscription": of_subscription(
        subscriptions_pb2.UpdateSubscriptionRequest, spec=SPEC, update_mask=FieldMask(paths=["description"])
    ),
    "SubscriptionService/TestNewSubscription": always(subscriptions_pb2.TestNewSubscriptionRequest(spec=SPEC)),
    "SubscriptionService/PreviewTemplate": always(
        subscriptions_pb2.PreviewTemplateRequest(
            template=subscriptions_pb2.Template(source="{{ event.type }}", content_type="text/plain")
        )
    ),
    "SubscriptionService/DeleteSubscription": of_subscription(subscriptions_pb2.DeleteSubscriptionRequest),
    "SubscriptionService/SetSubscriptionStatus": of_subscription(
        subscriptions_pb2.SetSubscriptionStatusRequest, action=subscriptions_pb2.SUBSCRIPTION_ACTION_PAUSE
    ),
    "SubscriptionService/RotateSubscriptionSecret": of_subscription(subscriptions_pb2.RotateSubscriptionSecretRequest),
    "SubscriptionService/CreateIngestToken": of_subscription(subscriptions_pb2.CreateIngestTokenRequest),
    "SubscriptionService/DeleteIngestToken": of_subscription(subscriptions_pb2.DeleteIngestTokenRequest),
    "SubscriptionService/CheckIngestToken": of_subscription(subscriptions_pb2.CheckIngestTokenRequest),
    "CatalogService/CreateEventType": new_event_type,
    "CatalogService/GetEventType": of_event_type(catalog_pb2.GetEventTypeRequest),
    "CatalogService/ListEventTypes": always(catalog_pb2.ListEventTypesRequest(name="near.nothing")),
    "CatalogService/UpdateEventType": of_event_type(
        catalog_pb2.UpdateEventTypeRequest, description="other", update_mask=FieldMask(paths=["description"])
    ),
    "CatalogService/DeleteEventType": of_event_type(catalog_pb2.DeleteEventTypeRequest),
    "CatalogService/CreateEventTypeVersion": of_event_type(
        catalog_pb2.CreateEventTypeVersionRequest, spec=catalog_pb2.EventTypeVersionSpec(schema="{}")
    ),
    "CatalogService/GetEventTypeVersion": of_event_type(catalog_pb2.GetEventTypeVersionRequest, number=1),
    "CatalogService/ListEventTypeVersions": of_event_type(catalog_pb2.ListEventTypeVersionsRequest),
    "CatalogService/UpdateEventTypeVersion": of_event_type(
        catalog_pb2.UpdateEventTypeVersionRequest,
        number=1,
        spec=catalog_pb2.EventTypeVersionSpec(description="other"),
        update_mask=FieldMask(paths=["description"]),
    ),
    "CatalogService/CheckEventTypeVersion": of_event_type(catalog_pb2.CheckEventTypeVersionRequest, schema="{}"),
    "CatalogService/GetPublishedCatalog": always(
        catalog_pb2.GetPublishedCatalogRequest(id="default", format=catalog_pb2.CATALOG_FORMAT_OPENAPI)
    ),
    "CatalogService/ExportCatalog": always(
        catalog_pb2.ExportCatalogRequest(format=catalog_pb2.CATALOG_FORMAT_OPENAPI, event_types=["near.nothing"])
    ),
    "CatalogService/ImportCatalog": always(
        catalog_pb2.ImportCatalogRequest(document='{"openapi": "3.1.0", "webhooks": {"near.refused": {}}}')
    ),
    "DeliveryService/GetDelivery": of_event(deliveries_pb2.GetDeliveryRequest, "delivery_id"),
    "DeliveryService/ListDeliveries": of_event(deliveries_pb2.ListDeliveriesRequest, "event_id"),
    "DeliveryService/SummarizeDeliveries": always(
        deliveries_pb2.SummarizeDeliveriesRequest(group_by=deliveries_pb2.DELIVERY_GROUP_STATUS)
    ),
    "DeliveryService/SearchDeliveries": always(deliveries_pb2.SearchDeliveriesRequest(page_size=1)),
    "DeliveryService/StreamDeliveries": always(deliveries_pb2.StreamDeliveriesRequest()),
    # One of something ends with its reader.
    "DeliveryService/Watch": always(
        deliveries_pb2.WatchRequest(
            topic=deliveries_pb2.WATCH_TOPIC_DELIVERIES, filter=deliveries_pb2.DeliveryFilter(subscription_id=[NOTHING])
        )
    ),
    "DeliveryService/RetryDelivery": of_event(deliveries_pb2.RetryDeliveryRequest, "delivery_id"),
    "DeliveryService/BatchRetryDeliveries": made_by(
        accepted, lambda made: deliveries_pb2.BatchRetryDeliveriesRequest(delivery_ids=[made.delivery_id])
    ),
    "DeliveryService/TestSubscription": always(deliveries_pb2.TestSubscriptionRequest(subscription_id=NOTHING)),
    "DeliveryService/GetSubscriptionTest": always(deliveries_pb2.GetSubscriptionTestRequest(webhook_id=NOTHING)),
    "DeliveryService/PullDeliveries": always(deliveries_pb2.PullDeliveriesRequest(subscription_id=NOTHING)),
    "DeliveryService/Pull": always(deliveries_pb2.PullRequest(subscription_id=NOTHING)),
    "DeliveryService/Report": always(
        deliveries_pb2.ReportRequest(
            subscription_id=NOTHING,
            results=[
                deliveries_pb2.PullResult(
                    delivery_id=NOTHING, lease_token=NOTHING, outcome=deliveries_pb2.PULL_OUTCOME_SUCCESS
                )
            ],
        )
    ),
    "DeliveryService/CancelDelivery": of_event(deliveries_pb2.CancelDeliveryRequest, "delivery_id"),
    "JobService/PreviewJob": made_by(subscription, lambda made: jobs_pb2.PreviewJobRequest(**_retry_of(made))),
    "JobService/CreateJob": made_by(subscription, lambda made: jobs_pb2.CreateJobRequest(**_retry_of(made))),
    "JobService/GetJob": always(jobs_pb2.GetJobRequest(job_id=NOTHING)),
    "JobService/ListJobs": always(jobs_pb2.ListJobsRequest(page_size=1, status=jobs_pb2.JOB_STATUS_FAILED)),
    "JobService/PauseJob": always(jobs_pb2.PauseJobRequest(job_id=NOTHING)),
    "JobService/ResumeJob": always(jobs_pb2.ResumeJobRequest(job_id=NOTHING)),
    "JobService/CancelJob": always(jobs_pb2.CancelJobRequest(job_id=NOTHING)),
    "AnalyticsService/GetStats": always(analytics_pb2.GetStatsRequest()),
    "AnalyticsService/GetStatsSeries": always(
        analytics_pb2.GetStatsSeriesRequest(group_by=analytics_pb2.STATS_GROUP_OUTCOME)
    ),
    "AnalyticsService/GetRefusals": always(analytics_pb2.GetRefusalsRequest()),
    "AnalyticsService/AddRefusals": always(
        analytics_pb2.AddRefusalsRequest(
            counts=[analytics_pb2.RefusalCount(tenant_id="default", reason="NOT_FOUND", events=1)]
        )
    ),
    "AccessService/Authenticate": made_by(key, lambda made: access_pb2.AuthenticateRequest(key=made.key)),
    "AccessService/CreateTenant": new_tenant,
    "AccessService/GetTenant": made_by(tenant, lambda made: access_pb2.GetTenantRequest(id=made)),
    "AccessService/UpdateTenant": made_by(
        tenant,
        lambda made: access_pb2.UpdateTenantRequest(id=made, name="other", update_mask=FieldMask(paths=["name"])),
    ),
    "AccessService/ListTenants": always(access_pb2.ListTenantsRequest(page_size=1)),
    "AccessService/DeleteTenant": made_by(tenant, lambda made: access_pb2.DeleteTenantRequest(id=made)),
    "AccessService/CreateApiKey": always(
        access_pb2.CreateApiKeyRequest(tenant_id="default", name="another", role=access_pb2.ROLE_READ)
    ),
    "AccessService/ListApiKeys": always(access_pb2.ListApiKeysRequest(page_size=1)),
    "AccessService/RevokeApiKey": made_by(key, lambda made: access_pb2.RevokeApiKeyRequest(id=made.api_key.id)),
    "AccessService/CreateSession": made_by(key, lambda made: access_pb2.CreateSessionRequest(key=made.key)),
    "AccessService/DescribeSignIn": always(access_pb2.DescribeSignInRequest()),
    "AccessService/BeginSignIn": always(access_pb2.BeginSignInRequest()),
    "AccessService/CompleteSignIn": always(access_pb2.CompleteSignInRequest(attempt="a", state="s", code="c")),
    "AccessService/GetSession": made_by(session, lambda made: access_pb2.GetSessionRequest(token=made.token)),
    "AccessService/EndSession": made_by(session, lambda made: access_pb2.EndSessionRequest(token=made.token)),
    "AccessService/ListSessions": always(access_pb2.ListSessionsRequest(page_size=1)),
    "AccessService/RevokeSession": made_by(session, lambda made: access_pb2.RevokeSessionRequest(id=made.session.id)),
    "AccessService/CreatePortalLink": always(LINK),
    "AccessService/GetPortalLink": made_by(link, lambda made: access_pb2.GetPortalLinkRequest(id=made.link.id)),
    "AccessService/ExchangePortalLink": made_by(
        link, lambda made: access_pb2.ExchangePortalLinkRequest(id=made.link.id, secret=made.secret)
    ),
    "AccessService/RevokePortalLink": made_by(link, lambda made: access_pb2.RevokePortalLinkRequest(id=made.link.id)),
    "AuditService/ListAuditEntries": always(audit_pb2.ListAuditEntriesRequest(page_size=1)),
    "SystemService/GetSystem": always(system_pb2.GetSystemRequest()),
    "SystemService/NoteProcess": always(
        system_pb2.NoteProcessRequest(
            process=system_pb2.ServiceProcess(id=NOTHING, roles=["gateway"], instance="a", version="1"), ends=True
        )
    ),
    "QueueService/GetQueue": always(system_pb2.GetQueueRequest()),
}
METHODS = {f"/webhook.v1.{name}": make for name, make in CASES.items()}
# How a call is made, beside its request: a gateway's with all that it needs, and ways to be refused.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "as a gateway": {},
    "without a caller": {"metadata": ()},
    "with two keys": {"metadata": (("authorization", "Bearer wrong"), *ACTOR)},
    "for an unknown caller": {
        "metadata": (
            ("webhook-actor", "00000000-0000-7000-8000-000000000000"),
            ("webhook-caller-key", "whk_" + "x" * 43),
        )
    },
    # A deadline of now may be up to a millisecond away for gRPC, which rounds it up.
    "too late": {"timeout": -1},
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a caller and a servicer see of a call, without what varies."""

    answer: str
    code: str
    message: str
    details: bytes
    seen: list[dict[str, Any]]
    counted: dict[str, float]
    audit: list[tuple[str, ...]]


def counted(method: str) -> dict[str, float]:
    """Return the calls of a method so far, by code."""
    found = (
        (sample.labels["code"], sample.value)
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "webhook_rpc_requests_total" and sample.labels["method"] == method
    )
    return dict(found)


async def outcome(
    served: Served, channels: Mapping[str, grpc.aio.Channel], method: str, request: Message, **options: Any
) -> Outcome:
    """Call a method in a request that is traced, and return what came of it."""
    served.seen.clear()
    before, last = counted(method), await served.pool.fetchval("SELECT max(id::text) FROM audit_entries")
    answer, code, message, details = "", grpc.StatusCode.OK, "", b""
    ids.CURRENT_REQUEST_ID.set(REQUEST_ID)
    spans.CURRENT.set(Kept(Parent(7, 8, sampled=True)))
    try:
        answer = str(await served.call(channels, method, request, **options))
    except grpc.aio.AioRpcError as error:
        code, message = error.code(), error.details() or ""
        raw = error.trailing_metadata().get(grpc_errors.DETAILS_KEY)
        details = raw if isinstance(raw, bytes) else b""
    finally:
        ids.CURRENT_REQUEST_ID.set(None)
        spans.CURRENT.set(None)
    if code is not grpc.StatusCode.DEADLINE_EXCEEDED:
        await wait_until(lambda: sum(counted(method).values()) > sum(before.values()), what="the call to be counted")
    entries = await served.pool.fetch(
        "SELECT actor, actor_role, action, resource_type FROM audit_entries WHERE id::text > coalesce($1, '')"
        " ORDER BY id",
        last,
    )
    after = counted(method)
    return Outcome(
        answer=VARYING.sub("*", answer),
        code=code.name,
        message=VARYING.sub("*", message),
        details=VARYING.sub("*", details.decode("latin-1")).encode("latin-1"),
        seen=[seen for seen in served.seen if seen["method"] == method],  # none of a call before, which was late
        counted={name: number - before.get(name, 0) for name, number in after.items() if number != before.get(name, 0)},
        audit=[tuple(VARYING.sub("*", str(value)) for value in entry) for entry in entries],
    )


def test_every_method_is_in_the_table() -> None:
    assert METHODS.keys() == roles.RULES.keys()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
async def test_a_near_call_is_like_a_far_one(served: Served, method: str, way: str) -> None:
    far = await outcome(served, served.far, method, await METHODS[method](served), **WAYS[way])
    near = await outcome(served, served.near, method, await METHODS[method](served), **WAYS[way])
    if far.code == "DEADLINE_EXCEEDED":  # gRPC may still call the servicer, and cancel it
        far, near = (dataclasses.replace(each, seen=[], counted={}) for each in (far, near))
    assert dataclasses.asdict(near) == dataclasses.asdict(far)
    if way == "as a gateway":
        assert near.code in {"OK", "FAILED_PRECONDITION", "UNAUTHENTICATED", "NOT_FOUND"}
        assert [seen["role"] for seen in near.seen] == [
            ROLE_OF.get(method.split("/")[1].rsplit(".", maxsplit=1)[-1], "ingest")
        ]
        assert [seen["request_id"] for seen in near.seen] == [REQUEST_ID]
        assert [seen["traced"] for seen in near.seen] == [True]


@pytest.mark.parametrize("method", METHODS)
async def test_a_near_call_with_an_empty_request_is_like_a_far_one(served: Served, method: str) -> None:
    request = message_factory.GetMessageClass(DESCRIPTORS[method].input_type)()
    far = await outcome(served, served.far, method, request)
    near = await outcome(served, served.near, method, request)
    assert dataclasses.asdict(near) == dataclasses.asdict(far)


async def test_near_calls_use_no_connection(served: Served) -> None:
    """Otherwise the tests above compare far calls with far ones."""
    channel: Any = served.near["analytics"]  # which has no streams, which use one
    before = channel._channel._channel.get_state()
    await served.call(served.near, "/webhook.v1.AnalyticsService/GetStats", analytics_pb2.GetStatsRequest())
    assert before is channel._channel._channel.get_state() is grpc.ChannelConnectivity.IDLE
