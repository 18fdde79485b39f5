"""Logs: one JSON line per log event in production, readable lines in development, on standard output."""

import contextvars
import logging
import sys

import structlog

from services.platform import ids
from services.platform.settings import Settings
from services.platform.tracing import spans

# Libraries that log per message or per request at INFO.
_CHATTY = ("taskiq", "uvicorn", "uvicorn.access", "httpx", "httpcore", "aiohttp", "asyncio", "grpc")

# The role of this process that something is done for, where the process has several.
ROLE: contextvars.ContextVar[str] = contextvars.ContextVar("role")


def configure(role: str, settings: Settings) -> None:
    """Routes structlog and the standard library's logging through one formatter.

    `role` is told where ROLE is not set: all roles of the process, or its only one.
    """

    def add_role(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["role"] = ROLE.get(role)
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_role,
        add_context,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.development:
        final: list[structlog.typing.Processor] = [
            escape_unprintable,
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                # Not the default, which shows local variables: secrets among them.
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    else:
        final = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def add_context(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Say for which request a line was written, and in which trace and span."""
    request_id = ids.CURRENT_REQUEST_ID.get()
    if request_id is not None:
        event["request_id"] = request_id
    span = spans.CURRENT.get()
    if span is not None:
        event["trace_id"], event["span_id"] = span.trace_id, span.span_id
    return event


def escape_unprintable(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape line ends and control characters in texts, which others may have sent.

    A terminal would obey them, and a line end would begin a line that looks like one of ours. Tracebacks stay as they
    are.
    """
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    return event
