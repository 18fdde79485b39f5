"""Lets gRPC calls in: whose key the metadata carries, and whether it may make this call."""

import dataclasses
import hmac
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from services.common import errors, metrics
from services.common.auth import identity, keys, roles
from services.common.auth.identity import Identity
from services.common.auth.known import Known
from services.common.settings import AuthSettings

HEADER = "authorization"
# On whose behalf the service itself calls, in the words of Identity.key_id. Of others it is not read.
ACTOR_HEADER = "webhook-actor"
_ACTOR = re.compile(r"[a-z0-9-]{1,36}")
Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]


class Authenticator:
    """`find` says whose a key is, and is asked once in a few seconds for each."""

    def __init__(self, settings: AuthSettings, find: Callable[[str], Awaitable[Identity]]) -> None:
        self._required = settings.requires_key
        self._service_key = settings.service_key.encode()
        self._known: Known[str, Identity] = Known(find)

    async def admit(self, method: str, metadata: Metadata) -> Identity:
        """Who calls; Unauthenticated or PermissionDenied when they may not."""
        if method.startswith(roles.OPEN):
            return identity.INTERNAL
        try:
            caller = await self._identify(metadata)
            needed = roles.LEAST.get(method)
            if needed is None:
                raise errors.PermissionDenied("this is nobody's to call", reason="ROLE_INSUFFICIENT")
            roles.check(caller.role, needed)
        except (errors.Unauthenticated, errors.PermissionDenied) as refused:
            metrics.CALLERS_REFUSED.labels(refused.reason).inc()
            raise
        return caller

    async def _identify(self, metadata: Metadata) -> Identity:
        header = next((value for name, value in metadata if name == HEADER), None)
        if header is None:
            if self._required:
                raise keys.missing()
            return _on_behalf(identity.ANONYMOUS, metadata)
        key = keys.of_header(header if isinstance(header, str) else header.decode("latin-1"))
        if self._service_key and hmac.compare_digest(key.encode(), self._service_key):
            return _on_behalf(identity.INTERNAL, metadata)
        return await self._known.find(key)


def _on_behalf(caller: Identity, metadata: Metadata) -> Identity:
    for name, value in metadata:
        if name == ACTOR_HEADER and isinstance(value, str) and _ACTOR.fullmatch(value):
            return dataclasses.replace(caller, on_behalf_of=value)
    return caller
