"""Headers by which providers sign and name what they send, handed to ingest as they came: it knows whose to look at."""

from collections.abc import Iterable, Mapping

from protos.webhook.v1 import ingest_pb2

# Ingest refuses what is longer than this where it is looked at; everywhere else it does no harm.
MAX_LENGTH = 1024

NAMES = frozenset(
    {
        *(b"x-github-event", b"x-github-delivery"),
        b"stripe-signature",
        *(b"x-shopify-hmac-sha256", b"x-shopify-topic", b"x-shopify-webhook-id"),
        *(b"x-slack-signature", b"x-slack-request-timestamp"),
        *(b"webhook-id", b"webhook-timestamp", b"webhook-signature"),
        *(b"svix-id", b"svix-timestamp", b"svix-signature"),
    }
)


def are_in(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request has any of them, its headers by name."""
    return not NAMES.isdisjoint(headers)


def of(headers: Iterable[tuple[bytes, bytes]]) -> list[ingest_pb2.ProviderHeader]:
    """Return those of a request; what is too long is cut to be longer still than ingest takes."""
    return [
        ingest_pb2.ProviderHeader(name=name.decode(), value=value[: MAX_LENGTH + 1].decode("latin-1"))
        for name, value in headers
        if name in NAMES
    ]
