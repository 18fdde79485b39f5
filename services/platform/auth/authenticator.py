"""Lets gRPC calls in: finds the caller in the metadata, and checks that they may make the call."""

import contextlib
import dataclasses
import hmac
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeAlias

from services.platform import errors
from services.platform.auth import identity, keys, roles
from services.platform.auth.identity import ACTOR_HEADER, Identity
from services.platform.auth.known import Known
from services.platform.auth.roles import Rule, Service
from services.platform.process import metrics
from services.platform.settings import AuthSettings

HEADER = "authorization"
# What a gateway sends besides its service key, if not the id of the API key that it acts for: that key itself.
KEY_HEADER = "webhook-caller-key"
# What violations name when the key that a gateway acts for is refused, rather than the gateway's own.
FORWARDED = frozenset((ACTOR_HEADER, KEY_HEADER))
Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
Find: TypeAlias = Callable[[str], Awaitable[Identity]]


class Authenticator:
    """`find` returns the holder of a key, `find_actor` that of a key id; results are cached for a few seconds.

    `service_key` is what a gateway shows to this process.
    """

    def __init__(self, settings: AuthSettings, find: Find, find_actor: Find) -> None:
        self._required = settings.requires_key
        self._service_key = settings.service_key.encode()
        self._known: Known[str, Identity] = Known(find)
        self._actors: Known[str, Identity] = Known(find_actor)

    async def admit(self, method: str, metadata: Metadata) -> Identity:
        """Return the caller; Unauthenticated or PermissionDenied if they may not make this call."""
        if method == roles.OPEN:
            return self._prober(metadata)
        try:
            return await self._admit(method, metadata)
        except (errors.Unauthenticated, errors.PermissionDenied) as refused:
            metrics.CALLERS_REFUSED.labels(refused.reason).inc()
            raise

    def _prober(self, metadata: Metadata) -> Identity:
        """Return who asks for the health: a gateway, whose calls strangers must not crowd out, or anybody."""
        return identity.INTERNAL if self.is_of_gateway(metadata) else identity.STRANGER

    def is_of_gateway(self, metadata: Metadata) -> bool:
        """Whether a call shows the service key."""
        header = _value(metadata, HEADER)
        return header is not None and self._is_of_service(header.removeprefix("Bearer "))

    def _is_of_service(self, key: str) -> bool:
        return bool(self._service_key) and hmac.compare_digest(key.encode(), self._service_key)

    async def _admit(self, method: str, metadata: Metadata) -> Identity:
        # First of all who calls: a stranger does not learn which methods there are.
        header = _value(metadata, HEADER)
        key = keys.of_header(header) if header is not None else ""
        if not key and self._required:
            raise keys.missing()
        of_service = self._is_of_service(key)
        caller = await self._known.find(key) if key and not of_service else None
        rule = roles.rule(method)
        if caller is not None:
            roles.check_rule(caller.role, caller.portal_capabilities, rule)
            return caller
        return await self._of_gateway(rule, metadata) if of_service else await self._without_key(rule, metadata)

    async def _without_key(self, rule: Rule, metadata: Metadata) -> Identity:
        """Anybody may call anything here. A gateway without a service key says which API key it acts for."""
        actor = _value(metadata, ACTOR_HEADER)
        return identity.ANONYMOUS if actor is None else await self._actor(rule, actor)

    async def _of_gateway(self, rule: Rule, metadata: Metadata) -> Identity:
        """Check what this method requires besides the service key."""
        if rule.service is Service.ALONE:
            return identity.INTERNAL
        key, actor = _value(metadata, KEY_HEADER), _value(metadata, ACTOR_HEADER)
        if rule.service is Service.KEY and (self._required or key is not None):
            if key is None:
                raise _required(KEY_HEADER, f"must be the API key, with role {rule.least}, that the gateway acts for")
            with _naming(KEY_HEADER):
                caller = await self._known.find(key)
                roles.check_rule(caller.role, caller.portal_capabilities, rule)
            return dataclasses.replace(caller, internal=True)
        if actor is None:
            raise _required(ACTOR_HEADER, "must be the id of the API key that the gateway acts for")
        return await self._actor(rule, actor)

    async def _actor(self, rule: Rule, actor: str) -> Identity:
        if actor == identity.ANONYMOUS_ID and not self._required:
            return identity.ANONYMOUS
        with _naming(ACTOR_HEADER):
            caller = await self._actors.find(actor)
            roles.check_rule(caller.role, caller.portal_capabilities, rule)
        return dataclasses.replace(caller, internal=True)


def _value(metadata: Metadata, wanted: str) -> str | None:
    found = next((value for name, value in metadata if name == wanted), None)
    return found.decode("latin-1") if isinstance(found, bytes) else found


def _required(header: str, description: str) -> errors.PermissionDenied:
    """Return the error for a gateway that does not state its caller. No violation: the caller did nothing wrong."""
    return errors.PermissionDenied(f"{header}: {description}", reason=errors.ErrorReason.ROLE_INSUFFICIENT)


@contextlib.contextmanager
def _naming(header: str) -> Iterator[None]:
    """Name the metadata at fault in a refusal, so that a gateway can tell it from a refusal of its service key."""
    try:
        yield
    except (errors.Unauthenticated, errors.PermissionDenied) as refused:
        violation = errors.Violation(field=header, description=refused.message)
        raise type(refused)(refused.message, reason=refused.reason, violations=[violation]) from None
