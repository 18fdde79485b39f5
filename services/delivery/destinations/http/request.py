"""Builds the request that a receiver gets: its headers and signatures."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.delivery.destinations.http.tls import ClientIdentity
from services.delivery.worker.claims import Claim
from services.domain import event_versions, sender_context
from services.domain.events import HUB_SIGNATURE
from services.domain.secrets import signatures
from services.domain.templates.template import Rendered
from services.platform import ids
from services.platform.process import metrics
from services.platform.tracing import spans

NO_HEADERS: Mapping[str, str] = {}
USER_AGENT = f"webhook-service/{metrics.VERSION}"


@dataclass(frozen=True, kw_only=True, slots=True)
class OutgoingRequest:
    """A request: a POST, unless it is a handshake. `body` is exactly the payload, or what a template made of it."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes
    # The client certificate to show; None: none.
    identity: ClientIdentity | None = None
    # The names of the headers that are the subscription's own.
    own: Collection[str] = ()
    method: str = "POST"


def build(
    claim: Claim,
    signers: Sequence[signatures.Signer],
    own: Mapping[str, str],
    payload: bytes,
    unix_seconds: int,
    *,
    repeated: bool = False,
    identity: ClientIdentity | None = None,
    trace: str | None = None,
    made: Rendered | None = None,
) -> OutgoingRequest:
    """Return the request of one attempt, signed as of `unix_seconds` by every signer, newest first.

    `repeated`: it is the second of its claim. `made` is sent in place of the payload.

    It has the headers of Standard Webhooks 1.0 (webhook-id is the same for all retries), ours, and the subscription's
    `own`, which can replace only Accept; and traceparent if a `trace` is given. Where it relays, headers of the event's
    provider replace the subscription's, as those of what a template made do, and X-Hub-Signature-256 ours.
    """
    message_id = str(claim.id)
    payload = payload if made is None else made.body
    headers = {
        "Content-Type": (claim if made is None else made).content_type or "application/json",
        # The beginning of the response is stored as text.
        "Accept-Encoding": "identity",
        "User-Agent": USER_AGENT,
        "X-Webhook-Delivery-Id": message_id,
        "X-Webhook-Event-Id": str(claim.event_id),
        "X-Webhook-Attempt": str(claim.number + repeated),
        "webhook-id": message_id,
        "webhook-timestamp": str(unix_seconds),
    }
    sender = sender_context.parse(claim.sender_context)
    if sender.event_version is not None:
        headers[event_versions.HEADER] = str(sender.event_version)
    headers |= _encoding(claim) if made is None else made.headers  # such as the version that it was converted to
    # A challenge and a test event are no deliveries of an event: they have one id for both.
    if claim.id not in (claim.event_id, ids.of_delivery(claim.event_id, claim.subscription_id)):
        headers["X-Webhook-Replay"] = "true"
    if claim.event_type:
        headers["X-Event-Type"] = claim.event_type
    if signers:
        headers["webhook-signature"] = signatures.standard(signers, message_id, unix_seconds, payload)
        _add_hub_signature(headers, signers, payload)
    if trace is not None:
        headers[spans.TRACEPARENT] = trace
    relayed = sender.headers if claim.relay_headers else NO_HEADERS
    headers |= relayed
    if taken := relayed if made is None else {**relayed, **made.headers}:
        own = _without(own, taken)
    if not any(name.lower() == "accept" for name in own):
        headers["Accept"] = "*/*"
    names: Collection[str] = ()
    if own:
        names = own.keys() - headers.keys()
        headers = {**own, **headers}
    return OutgoingRequest(url=claim.target_url, headers=headers, body=payload, identity=identity, own=names)


def _encoding(claim: Claim) -> Mapping[str, str]:
    """Return the header of a payload that is encoded."""
    return {"Content-Encoding": claim.content_encoding} if claim.content_encoding else NO_HEADERS


def _add_hub_signature(headers: dict[str, str], signers: Sequence[signatures.Signer], payload: bytes) -> None:
    """Add the header as GitHub has it, which has room for one signature: that of the newest secret."""
    for signer in signers:
        if isinstance(signer, signatures.Key):
            headers[HUB_SIGNATURE] = signatures.hub(signer, payload)
            return


def _without(own: Mapping[str, str], names: Iterable[str]) -> Mapping[str, str]:
    """Return the subscription's headers but those of these names."""
    taken = {name.lower() for name in names}
    return {name: value for name, value in own.items() if name.lower() not in taken}
