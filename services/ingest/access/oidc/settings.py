"""Settings of OpenID Connect: the issuer, this service as its client, and which group has which role."""

from collections.abc import Sequence
from typing import Self
from urllib.parse import SplitResult, urlsplit

import msgspec
from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from services.platform import errors
from services.platform.auth import identity
from services.platform.auth.roles import Role
from services.platform.settings import Settings

# Where the issuer sends a browser back to, at the gateway.
CALLBACK_PATH = "/console/oidc/callback"
# Who signs in at the console must be able to read.
ROLES = frozenset((Role.ADMIN, Role.WRITE, Role.READ))
MAX_GROUPS = 1000
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_FORM = 'must be a JSON list such as [{"group": "webhooks", "role": "write", "tenant_id": "acme"}]'


class GroupRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The role of a group's people, and the tenant that they act in."""

    group: str
    role: str
    tenant_id: str = identity.DEFAULT_TENANT


class OidcSettings(Settings):
    """What OpenID Connect needs. Without an issuer it is off."""

    # As in the `iss` of its tokens; its discovery document is found below it.
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    # Empty: a public client, which PKCE protects alone.
    oidc_client_secret: str = Field("", repr=False)
    # The address of CALLBACK_PATH as browsers reach it.
    oidc_redirect_url: str = ""
    # `openid` is always asked for.
    oidc_scopes: str = "openid profile email"
    # The claim of the ID token that lists a person's groups.
    oidc_groups_claim: str = "groups"
    # JSON. The first group of the list that a person is in decides.
    oidc_group_roles: str = ""

    @field_validator("oidc_issuer", "oidc_redirect_url")
    @classmethod
    def _url_is_protected(cls, url: str) -> str:
        if url and not is_protected(url):
            raise PydanticCustomError("unusable", "must be an https:// URL; http:// only on localhost")
        return url

    @field_validator("oidc_group_roles")
    @classmethod
    def _roles_are_usable(cls, text: str) -> str:
        if text:
            parse_roles(text)
        return text

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.oidc_issuer:
            return self
        for name in ("oidc_client_id", "oidc_redirect_url", "oidc_group_roles"):
            if not getattr(self, name):
                raise PydanticCustomError("required", "{name} is required with OIDC_ISSUER", {"name": name.upper()})
        if urlsplit(self.oidc_redirect_url).path != CALLBACK_PATH:
            message = "OIDC_REDIRECT_URL must end in {path}"
            raise PydanticCustomError("unusable", message, {"path": CALLBACK_PATH})
        return self

    @property
    def group_roles(self) -> Sequence[GroupRole]:
        """The roles of groups, in their order."""
        return parse_roles(self.oidc_group_roles) if self.oidc_group_roles else ()


def is_protected(url: str) -> bool:
    """Whether nobody on the way can read what is sent to a URL: it has TLS, or does not leave this machine."""
    try:
        found: SplitResult = urlsplit(url)
        host = found.hostname
        _ = found.port
    except ValueError:
        return False
    if not host or found.username is not None or found.fragment or not url.isascii() or not url.isprintable():
        return False
    return found.scheme == "https" or (found.scheme == "http" and host in _LOOPBACK)


def parse_roles(text: str) -> Sequence[GroupRole]:
    """Return the roles of groups from their JSON; raise PydanticCustomError, which says what is wrong."""
    try:
        found = msgspec.json.decode(text, type=list[GroupRole])
    except msgspec.DecodeError:
        raise PydanticCustomError("unusable", _FORM) from None
    if not 1 <= len(found) <= MAX_GROUPS:
        raise PydanticCustomError("unusable", "must have 1 to {most} groups", {"most": MAX_GROUPS})
    for index, each in enumerate(found):
        if not each.group:
            raise PydanticCustomError("unusable", "{index}.group is required", {"index": index})
        if each.role not in ROLES:
            message = "{index}.role must be one of {roles}"
            raise PydanticCustomError("unusable", message, {"index": index, "roles": ", ".join(sorted(ROLES))})
        try:
            identity.check_tenant("tenant_id", each.tenant_id)
        except errors.InvalidArgument as error:
            raise PydanticCustomError("unusable", "{index}.{why}", {"index": index, "why": error.message}) from None
    return found
