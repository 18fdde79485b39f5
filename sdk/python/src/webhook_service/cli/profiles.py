"""Where webhookctl connects to, and with which key: variables, then a profile, then this machine.

    WEBHOOKCTL_URL, WEBHOOKCTL_API_KEY, WEBHOOKCTL_PROFILE, WEBHOOKCTL_TENANT

Profiles are in ~/.config/webhookctl/profiles.json ($XDG_CONFIG_HOME), which only its owner can read. Keys are in the
keyring of the system if there is one, and in that file otherwise.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from webhook_service.client import DEFAULT_URL

_SERVICE = "webhookctl"
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A service, and the key for it."""

    name: str
    url: str
    tenant: str | None = None
    api_key: str | None = field(default=None, repr=False)


def path() -> Path:
    """Return the file of the profiles."""
    configured = os.environ.get("XDG_CONFIG_HOME")
    home = Path(os.environ.get("HOME") or ".")
    return (Path(configured) if configured else home / ".config") / _SERVICE / "profiles.json"


def current(name: str | None = None) -> Profile:
    """Return the profile of this name, else the one that was last logged in to, as the environment overrides it."""
    stored = _read()
    wanted = name or os.environ.get("WEBHOOKCTL_PROFILE") or stored.get("current") or DEFAULT
    found = stored.get("profiles", {}).get(wanted)
    if found is None and name is not None:
        raise LookupError(f"there is no profile {name}: run `webhookctl login --name {name}`")
    found = found or {}
    url = os.environ.get("WEBHOOKCTL_URL") or found.get("url") or DEFAULT_URL
    key = os.environ.get("WEBHOOKCTL_API_KEY")
    if not key and url == found.get("url"):  # a key is for the service that it was given for
        key = _from_keyring(wanted) if found.get("keyring") else found.get("api_key")
    tenant = os.environ.get("WEBHOOKCTL_TENANT") or found.get("tenant")
    return Profile(name=wanted, url=url, tenant=tenant, api_key=key or None)


def save(profile: Profile) -> bool:
    """Store a profile and make it the current one; return whether its key is in the keyring."""
    in_keyring = profile.api_key is not None and _to_keyring(profile.name, profile.api_key)
    stored = _read()
    entry: dict[str, Any] = {"url": profile.url, "tenant": profile.tenant}
    if in_keyring:
        entry["keyring"] = True
    elif profile.api_key:
        entry["api_key"] = profile.api_key
    stored.setdefault("profiles", {})[profile.name] = entry
    stored["current"] = profile.name
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = file.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(stored, stream, indent=2)
    unfinished.replace(file)
    return in_keyring


def _read() -> dict[str, Any]:
    try:
        found = json.loads(path().read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise LookupError(f"{path()} is not JSON: correct or delete it") from error
    return found if isinstance(found, dict) else {}


def _to_keyring(name: str, key: str) -> bool:
    # A keyring fails in as many ways as there are systems; none is an error here.
    with contextlib.suppress(Exception):
        keyring = importlib.import_module("keyring")
        keyring.set_password(_SERVICE, name, key)
        return bool(keyring.get_password(_SERVICE, name) == key)
    return False


def _from_keyring(name: str) -> str | None:
    with contextlib.suppress(Exception):
        keyring = importlib.import_module("keyring")
        found: str | None = keyring.get_password(_SERVICE, name)
        return found
    return None
