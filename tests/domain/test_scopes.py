"""What a portal link may not do in a call that it may make: set secrets, and see what others made."""

from typing import Any

import pytest

from protos.webhook.v1 import jobs_pb2
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain.tenants import scopes
from services.platform import errors, ids
from services.platform.auth import identity
from services.platform.auth.identity import Identity, Portal
from services.platform.auth.roles import PortalCapability, Role


def holder(*capabilities: PortalCapability) -> Identity:
    portal = Portal(capabilities=frozenset(capabilities), subscriptions=None)
    return Identity(tenant_id="acme", role=Role.PORTAL, key_id=f"portal:{ids.new()}", portal=portal)


async def enter(caller: Identity, request: Any) -> None:
    identity.CALLER.set(caller)
    await scopes.Entry(None).enter(caller, "/webhook.v1.SubscriptionService/UpdateSubscription", request)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["secret_key", "verification_secrets", "client_certificate", "template_secrets"])
async def test_each_secret_needs_the_capability_whether_it_is_sent_or_named_to_be_removed(field: str) -> None:
    sent, named = pb.UpdateSubscriptionRequest(), pb.UpdateSubscriptionRequest()
    if field == "secret_key":
        sent.spec.secret_key = "a secret"
    else:
        getattr(sent.spec, field).SetInParent()
    named.update_mask.paths.append(field)
    for request in (sent, named):
        await enter(holder(PortalCapability.MANAGE, PortalCapability.SECRETS), request)
        with pytest.raises(errors.PermissionDenied) as raised:
            await enter(holder(PortalCapability.MANAGE), request)
        assert raised.value.reason is errors.ErrorReason.CAPABILITY_MISSING


async def test_idempotency_keys_of_links_are_apart_from_those_of_others_and_of_each_other() -> None:
    made = set()
    for caller in (holder(), holder()):
        request = jobs_pb2.CreateJobRequest(idempotency_key="k")
        await enter(caller, request)
        made.add(request.idempotency_key)
    assert len(made - {"k"}) == 2
