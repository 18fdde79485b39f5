"""The gateway's ASGI application: the rooms, and the way to each."""

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from services.common import metrics, ops
from services.common.tracing.tracer import Tracer
from services.gateway import (
    accepting,
    accepting_docs,
    api_keys,
    audit,
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

OPENAPI_PATH = "/openapi.json"


def create(
    services: Backends,
    batches: IngestBatches,
    callers: Callers,
    tokens: IngestTokens,
    health: ops.Health,
    *,
    max_payload_bytes: int,
    tracer: Tracer | None = None,
) -> ASGIApp:
    """The application; payloads may have up to `max_payload_bytes`."""
    accept = accepting.routes(batches, tokens, max_payload_bytes=max_payload_bytes)
    api = described(services)
    api.routes.extend(accept)
    operational = ops.routes(health)
    api.routes.extend(operational)
    # Beside FastAPI's own, /openapi.json.
    described_by = [route for route in api.routes if getattr(route, "path", None) == OPENAPI_PATH]
    by_token = [route for route in accept if route.path == accepting.TOKEN_PATH]
    open_routes = [*operational, *described_by, *_docs_pages(), *by_token]
    known = middleware.Authenticated(middleware.Shortcut(api, accept), callers, open_routes)
    templates = middleware.Templates(api.routes)
    metered = middleware.Metered(middleware.SlashTolerant(known), templates)
    return traces.Traced(metered, templates, tracer) if tracer else metered


def described(services: Backends | None = None) -> FastAPI:
    """The resources' routes and the OpenAPI document; the document needs no services."""
    api = FastAPI(
        title=openapi.TITLE,
        version=metrics.version(),
        openapi_url=OPENAPI_PATH,
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
    api.routes.extend(_docs_pages())
    openapi.install(api, accepting_docs.PATHS, accepting.WebhookAccepted, accepting.EventAccepted)
    return api


def _docs_pages() -> list[BaseRoute]:
    return docs_pages.routes(title=openapi.TITLE, openapi_path=OPENAPI_PATH)
