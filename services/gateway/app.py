"""The gateway's ASGI application: its routes and middleware."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from services.gateway.accept import documentation, routes
from services.gateway.accept.batches import IngestBatches
from services.gateway.accept.cloudevents import documentation as cloudevents_documentation
from services.gateway.accept.cloudevents import routes as cloudevents
from services.gateway.accept.refusals import Refusals
from services.gateway.accept.routes import IngestTokens
from services.gateway.console import oidc, portal, published, sessions
from services.gateway.console.pages import Console
from services.gateway.resources import (
    api_keys,
    audit,
    catalog,
    deliveries,
    event_types,
    events,
    filters,
    portal_links,
    pull,
    retries,
    stats,
    stream,
    system,
    tenants,
)
from services.gateway.resources import sessions as admin_sessions
from services.gateway.resources import templates as template_previews
from services.gateway.resources.jobs import routes as jobs
from services.gateway.resources.stream import Streams
from services.gateway.resources.subscriptions import routes as subscriptions
from services.gateway.resources.subscriptions import secrets
from services.gateway.web import middleware, openapi, problems, received, swagger
from services.gateway.web.backends import Backends
from services.gateway.web.callers import Callers
from services.platform.process import metrics, probes
from services.platform.tracing.spans import Tracer

OPENAPI_PATH = "/openapi.json"


def create(
    services: Backends,
    batches: IngestBatches,
    callers: Callers,
    tokens: IngestTokens,
    health: probes.Probed,
    *,
    max_payload_bytes: int,
    serve_operations: bool,
    local_only: bool = False,
    tracer: Tracer | None = None,
    streams: Streams | None = None,
    refusals: Refusals | None = None,
    trace_url: str = "",
) -> ASGIApp:
    """Return the application; payloads may have up to `max_payload_bytes`.

    It has /metrics, /healthz and /readyz if `serve_operations`; the metrics port always does. Where no key is required,
    `local_only` serves no requests that are addressed to another machine, or made by another website. `trace_url` is
    where the console leads from a trace.
    """
    refusals = Refusals() if refusals is None else refusals
    accept = routes.routes(batches, refusals, tokens, max_payload_bytes=max_payload_bytes)
    by_token = [route for route in accept if route.path == routes.TOKEN_PATH]
    taking, handshakes = cloudevents.make(batches, refusals, tokens, max_payload_bytes=max_payload_bytes)
    accept += taking
    limited = routes.Limited(accept, refusals)
    accept += handshakes
    api = described(services, with_operations=serve_operations)
    api.state.streams = streams or Streams()
    api.routes.extend(accept)
    operational = [probes.liveness_route(health), *(probes.routes(health) if serve_operations else ())]
    api.routes.extend(operational)
    pages = swagger.routes(title=openapi.TITLE, openapi_path=OPENAPI_PATH, document=api.openapi)
    api.routes.extend(pages)
    links = {"docs": swagger.DOCS_PATH, "openapi": OPENAPI_PATH, "health": "/livez"}
    files = Console()
    console = files.routes(title=openapi.TITLE, links=links)
    single = oidc.Oidc(services)
    signing_in = [
        sessions.route(services, callers, single, development=serve_operations, trace_url=trace_url),
        *single.routes(),
        *portal.routes(services, files),
        *published.routes(services, files),
    ]
    api.routes.extend([*console, *signing_in])
    open_routes = [*operational, *pages, *console, *signing_in, *by_token, *handshakes]
    rest = middleware.Compressed(middleware.HeadAsGet(api))
    known = middleware.Authenticated(
        middleware.Shortcut(rest, [*accept, *retries.routes(services), *pages, *console]),
        callers,
        open_routes,
        local_only=local_only,
        on_limited=limited.note,
    )
    templates = middleware.Templates(api.routes)
    metered = middleware.Metered(middleware.WellFormed(known, routes.SINGLE_HEADERS), templates)
    return middleware.Traced(metered, templates, tracer) if tracer else metered


def described(services: Backends | None = None, *, with_operations: bool = False) -> FastAPI:
    """Return the resources' routes and the OpenAPI document; the document needs no services."""
    api = FastAPI(
        title=openapi.TITLE,
        version=metrics.VERSION,
        openapi_url=None,  # swagger.py serves it, built and compressed once
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=problems.HANDLERS,
        # FastAPI's own would record paths and queries, which may contain secrets, and cost more than ours.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    api.state.backends = services
    of_subscriptions = (subscriptions, secrets, template_previews)
    for resource in (
        *of_subscriptions,
        events,
        event_types,
        catalog,
        filters,
        deliveries,
        stream,
        pull,
        jobs,
        stats,
        portal_links,
        tenants,
        api_keys,
        admin_sessions,
        audit,
        system,
    ):
        api.include_router(resource.router)
    paths = documentation.PATHS | cloudevents_documentation.PATHS
    paths |= documentation.OPERATIONS if with_operations else {}
    answers = (routes.WebhookAccepted, routes.EventAccepted, routes.BatchedEventAccepted, routes.BatchedEventRefused)
    openapi.install(api, paths, *answers, webhooks=received.WEBHOOKS, schemas=received.SCHEMAS)
    return api
