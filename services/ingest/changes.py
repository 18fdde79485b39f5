"""What a request makes of a stored subscription, decided while its row is locked: no other change comes between."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.domain.secrets.encryption import CannotOpen
from services.domain.secrets.signatures import Scheme
from services.domain.secrets.vault import Secret, Vault
from services.ingest import field_changes, signing_secrets
from services.ingest.subscriptions import Draft, Subscription, secret_violations
from services.ingest.verification import presets
from services.ingest.verification.presets import Preset
from services.platform import errors


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """Other fields for a subscription; what is kept secret is replaced only where this says so."""

    draft: Draft
    # None: that of the stored secrets.
    scheme: Scheme | None
    set_secret: bool = False
    # An update to no types is meant for every type.
    all_event_types: bool = False
    set_headers: bool = False
    # Whether values of stored headers stay.
    keeps_headers: bool = True
    set_client_certificate: bool = False

    @property
    def set_verification_secrets(self) -> bool:
        """Whether those are replaced."""
        return self.draft.verification_secrets is not None

    @property
    def replaced(self) -> list[str]:
        """What is kept secret and replaced, as requests name it."""
        asked = {
            "secret_key": self.set_secret,
            "headers": self.set_headers,
            "verification_secrets": self.set_verification_secrets,
            "client_certificate": self.set_client_certificate,
        }
        return [name for name, is_set in asked.items() if is_set]

    def of(self, stored: Subscription, vault: Vault) -> Draft:
        """What to store, in the scheme of its secret; InvalidArgument when it does not go with what is kept."""
        if self.draft.kind not in {None, stored.kind}:
            raise errors.InvalidArgument.field("kind", f"cannot be changed; it is {stored.kind}")
        if stored.event_types and not self.draft.event_types and not self.all_event_types:
            expected = "is required: the subscription is limited to some types. Send [] to get every type"
            raise errors.InvalidArgument.field("event_types", expected)
        draft = dataclasses.replace(self.draft, signature_scheme=self._scheme(stored))
        self._reject_credentials_for_new_host(stored)
        secret = draft.secret_key if self.set_secret else stored.sealed_secrets
        _check_verification(
            stored,
            vault,
            preset=draft.verification,
            secrets=draft.verification_secrets,
            signs=verifies(secret, draft.signature_scheme),
        )
        return draft

    def _scheme(self, stored: Subscription) -> Scheme:
        if self.scheme is None or self.set_secret:
            return self.scheme or stored.signature_scheme
        if stored.sealed_secrets is None:
            expected = f"is required to sign with {self.scheme}; or have a secret made by rotating it"
            raise errors.InvalidArgument.field("secret_key", expected)
        if self.scheme is stored.signature_scheme:
            return self.scheme
        expected = f"is {stored.signature_scheme}; to change it, send secret_key with it or rotate the secret"
        raise errors.InvalidArgument.field("signature_scheme", expected)

    def _reject_credentials_for_new_host(self, stored: Subscription) -> None:
        """Raise InvalidArgument when stored credentials would go to another host than they were given for."""
        if field_changes.origin(stored.target_url) == field_changes.origin(self.draft.target_url):
            return
        kept = {
            "headers": self.keeps_headers and bool(stored.header_names),
            "client_certificate": not self.set_client_certificate and stored.client_certificate is not None,
        }
        expected = "must be sent again, or null, because target_url names another host than the stored values are for"
        wrong = [errors.Violation(field=name, description=expected) for name, is_kept in kept.items() if is_kept]
        if wrong:
            raise errors.InvalidArgument.of(*wrong)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    """Another secret for a subscription."""

    # None: one is made.
    secret_key: str | None = field(repr=False)
    # None: that of the stored secrets.
    scheme: Scheme | None

    def __post_init__(self) -> None:
        """InvalidArgument when the secret is wrong whatever is stored."""
        self._check(self.scheme or signing_secrets.likely_scheme(self.secret_key))

    def of(self, stored: Subscription, vault: Vault) -> Secret:
        """The new secret; InvalidArgument when it does not go with what is kept."""
        scheme = self.scheme or stored.signature_scheme
        self._check(scheme)
        if scheme is not stored.signature_scheme:
            _check_verification(stored, vault, preset=None, secrets=None, signs=scheme is Scheme.HMAC_SHA256)
        return Secret(self.secret_key or signing_secrets.new(scheme), scheme=scheme)

    def _check(self, scheme: Scheme) -> None:
        if wrong := secret_violations(self.secret_key, scheme):
            raise errors.InvalidArgument.of(*wrong)


def verifies(secret: str | bytes | None, scheme: Scheme) -> bool:
    """Whether what comes in can be verified with the subscription's own secret: it has one that others know, too."""
    return secret is not None and scheme is Scheme.HMAC_SHA256


def _check_verification(
    stored: Subscription, vault: Vault, *, preset: Preset | None, secrets: Sequence[str] | None, signs: bool
) -> None:
    """InvalidArgument when the secrets that there will be cannot verify the preset that there will be.

    None for the preset or the secrets stands for the stored ones.
    """
    if secrets is None:
        try:
            secrets = vault.verification_secrets(stored.id, stored.sealed_verification_secrets)
        except CannotOpen:
            secrets = ()  # as good as none
    presets.check(preset or stored.verification, secrets, signs=signs)
