"""Hooks for schemathesis (schemathesis.toml): generated URLs, and changes to requests before they are sent."""

import contextlib
from typing import Any
from urllib.parse import urlsplit

import schemathesis
from hypothesis import strategies as st

# The host of generated targets, which leads nowhere.
NOWHERE = "hook.invalid"
# All of these are URIs; the service accepts those that are http or https, have a host, and no user.
URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP", "ftp", "javascript"]),
    st.sampled_from([NOWHERE, f"a.{NOWHERE}.", f"user@{NOWHERE}", "[::1]", "127.1", "0x7f.1", "", "a..b"]),
    st.sampled_from(["", ":80", ":0", ":99999"]),
    st.sampled_from(["", "/", "/hook?a=b#c", "/%00", "/%ff", "/..;/", "//", "?", "#"]),
)
schemathesis.openapi.format("uri", URLS)


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], __: dict[str, Any]) -> None:
    """Change what would have unwanted effects."""
    lead_nowhere(case)
    if (
        case.method == "PATCH"
        and (case.path_parameters or {}).get("tenant_id") == "default"
        and isinstance(case.body, dict)
    ):
        # The other requests are this tenant's.
        case.body.pop("quotas", None)
    if isinstance(case.body, dict) and case.path.endswith("/pull") and is_a_wait(case.body.get("wait_seconds")):
        case.body["wait_seconds"] = 0.01
    if case.meta is not None and case.meta.phase.name == "stateful":
        # A used key would return the response of another sequence, whose object may be deleted by now.
        case.headers.pop("Idempotency-Key", None)


def is_a_wait(seconds: object) -> bool:
    """Return whether a consumer may wait for so long, which it would while there is nothing to pull."""
    return type(seconds) in {int, float} and 0 < seconds <= 30  # type: ignore[operator]  # a number


def lead_nowhere(case: schemathesis.Case[Any]) -> None:
    """Replace the host of a generated target, if it leads anywhere."""
    url = case.body.get("target_url") if isinstance(case.body, dict) else None
    if isinstance(case.body, dict) and isinstance(url, str):
        with contextlib.suppress(ValueError):
            case.body["target_url"] = url.replace(urlsplit(url).hostname or NOWHERE, NOWHERE, 1)
