"""The gateway's ASGI application: the rooms, and the way to each."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from services.gateway import (
    accepting,
    accepting_docs,
    api_keys,
    audit,
    compression,
    deliveries,
    docs_pages,
    events,
    middleware,
    openapi,
    problems,
    signature_schemes,
    stats,
    subscription_secrets,
    subscriptions,
    tenants,
    traces,
)
from services.gateway.backends import Backends
from services.gateway.callers import Callers
from services.gateway.ingest_batches import IngestBatches
from services.gateway.ingest_tokens import IngestTokens
from services.platform.process import metrics, operations
from services.platform.tracing.tracer import Tracer

OPENAPI_PATH = "/openapi.json"


def create(
    services: Backends,
    batches: IngestBatches,
    callers: Callers,
    tokens: IngestTokens,
    health: operations.Health,
    *,
    max_payload_bytes: int,
    serve_operations: bool,
    tracer: Tracer | None = None,
) -> ASGIApp:
    """Return the application; payloads may have up to `max_payload_bytes`.

    It has /metrics, /healthz and /readyz if `serve_operations`; the metrics port always does.
    """
    accept = accepting.routes(batches, tokens, max_payload_bytes=max_payload_bytes)
    api = described(services, with_operations=serve_operations)
    api.routes.extend(accept)
    operational = [operations.liveness_route(health), *(operations.routes(health) if serve_operations else ())]
    api.routes.extend(operational)
    by_token = [route for route in accept if route.path == accepting.TOKEN_PATH]
    pages = docs_pages.routes(title=openapi.TITLE, openapi_path=OPENAPI_PATH, document=api.openapi)
    api.routes.extend(pages)
    open_routes = [*operational, *pages, *by_token]
    rest = compression.Compressed(middleware.HeadAsGet(api))
    known = middleware.Authenticated(middleware.Shortcut(rest, [*accept, *pages]), callers, open_routes)
    templates = middleware.Templates(api.routes)
    metered = middleware.Metered(middleware.WellFormed(known), templates)
    return traces.Traced(metered, templates, tracer) if tracer else metered


def described(services: Backends | None = None, *, with_operations: bool = False) -> FastAPI:
    """Return the resources' routes and the OpenAPI document; the document needs no services."""
    api = FastAPI(
        title=openapi.TITLE,
        version=metrics.version(),
        openapi_url=None,  # docs_pages.py serves it, made and compressed once
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=problems.HANDLERS,
        # traces.py and metrics.py say less, and cost less: FastAPI's own would tell paths and queries.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    api.state.backends = services
    of_subscriptions = (subscriptions, subscription_secrets, signature_schemes)
    for resource in (*of_subscriptions, events, deliveries, stats, tenants, api_keys, audit):
        api.include_router(resource.router)
    paths = accepting_docs.PATHS | (accepting_docs.OPERATIONS if with_operations else {})
    openapi.install(api, paths, accepting.WebhookAccepted, accepting.EventAccepted)
    return api
