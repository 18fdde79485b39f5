"""What a subscription's status becomes when somebody changes it by hand."""

from dataclasses import dataclass

from services.domain.audit import Action
from services.platform import errors

ACTIVE, PAUSED, DISABLED = "active", "paused", "disabled"
MANUAL = "manual"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change to one status; `not_from` is the one that it does not lead out of, for another change does."""

    # As the audit log calls it.
    action: Action
    to: str
    reason: str | None = None
    not_from: str | None = None
    # Whether it begins anew: what is known of the endpoint's failures is forgotten.
    afresh: bool = False

    def refuse(self, status: str) -> None:
        """Conflict when a subscription in this status must be brought out of it first."""
        if status != self.not_from:
            return
        if status == PAUSED:
            raise errors.Conflict(
                "the subscription is paused; resume it", reason=errors.ErrorReason.SUBSCRIPTION_PAUSED
            )
        raise errors.Conflict(
            "the subscription is disabled; enable it first", reason=errors.ErrorReason.SUBSCRIPTION_DISABLED
        )


DISABLE = Change(action=Action.DISABLE_SUBSCRIPTION, to=DISABLED, reason=MANUAL)
ENABLE = Change(action=Action.ENABLE_SUBSCRIPTION, to=ACTIVE, not_from=PAUSED, afresh=True)
PAUSE = Change(action=Action.PAUSE_SUBSCRIPTION, to=PAUSED, not_from=DISABLED)
RESUME = Change(action=Action.RESUME_SUBSCRIPTION, to=ACTIVE, not_from=DISABLED)
