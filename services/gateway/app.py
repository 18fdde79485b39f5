"""The gateway's ASGI application: the rooms, and the way to each."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from services.common import metrics, ops
from services.gateway import (
    accepting,
    accepting_docs,
    deliveries,
    docs_pages,
    events,
    middleware,
    openapi,
    problems,
    stats,
    subscription_secrets,
    subscriptions,
)
from services.gateway.backends import Backends
from services.gateway.ingest_batches import IngestBatches

OPENAPI_PATH = "/openapi.json"


def create(services: Backends, batches: IngestBatches, health: ops.Health, *, max_payload_bytes: int) -> ASGIApp:
    """The application; payloads may have up to `max_payload_bytes`."""
    accept = accepting.routes(batches, max_payload_bytes=max_payload_bytes)
    api = described(services)
    api.routes.extend(accept)
    api.routes.extend(ops.routes(health))
    return middleware.Metered(middleware.SlashTolerant(middleware.Shortcut(api, accept)), api.routes)


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
    )
    api.state.backends = services
    for resource in (subscriptions, subscription_secrets, events, deliveries, stats):
        api.include_router(resource.router)
    api.routes.extend(docs_pages.routes(title=openapi.TITLE, openapi_path=OPENAPI_PATH))
    openapi.install(api, accepting_docs.PATHS, accepting.WebhookAccepted, accepting.EventAccepted)
    return api
