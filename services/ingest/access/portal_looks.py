"""How the portal of a tenant looks: a name, two colors and a logo, their rules, and their rows in Postgres."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.domain import limits
from services.platform import errors
from services.platform.stores import postgres, sql

SQL = sql.Queries("services.ingest.access")

MAX_LOGO_BYTES = 64 << 10
# A browser needs no more to know what it is, and neither may carry a script.
_SIGNATURES = {"image/png": re.compile(rb"\x89PNG\r\n\x1a\n"), "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL)}
_COLOR = re.compile(r"#[0-9a-f]{6}")
# What text in a color stands on, in the light theme and in the dark one, and the least contrast with it (WCAG 2.2 AA).
_SURFACES = {"accent": "#ffffff", "accent_dark": "#15191f"}
_LEAST_CONTRAST = 4.5
# Below it a channel is linear (sRGB).
_LINEAR = 0.04045


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a portal looks, but for the logo itself. None: as the console does."""

    name: str | None = None
    accent: str | None = None
    accent_dark: str | None = None
    has_logo: bool = False

    @classmethod
    def of(cls, row: Any) -> "Look":
        """Return that of a row, which has the columns even if nothing is set."""
        return cls(
            name=row["portal_name"],
            accent=row["portal_accent"],
            accent_dark=row["portal_accent_dark"],
            has_logo=bool(row["portal_has_logo"]),
        )


NO_LOOK = Look()


def media_type(logo: bytes) -> str | None:
    """Return the media type of a logo; None if it is no picture of a kind that is taken."""
    return next((kind for kind, begin in _SIGNATURES.items() if begin.match(logo)), None)


def check(columns: Mapping[str, str | bytes | None]) -> None:
    """Raise InvalidArgument, which names each field at fault, for what a portal cannot have."""
    found = []
    for field, value in columns.items():
        if value is not None and (description := _why_not(field, value)):
            found.append(errors.Violation(field=f"portal.{field}", description=description))
    if found:
        raise errors.InvalidArgument.of(*found)


def _why_not(field: str, value: str | bytes) -> str | None:
    if isinstance(value, bytes):
        if len(value) > MAX_LOGO_BYTES:
            return f"must be at most {MAX_LOGO_BYTES} bytes"
        return None if media_type(value) else "must be a PNG or a WebP"
    if field == "name":
        bad = not value.isprintable() or len(value) > limits.MAX_NAME_LENGTH
        return f"must be at most {limits.MAX_NAME_LENGTH} printable characters" if bad else None
    if not _COLOR.fullmatch(value):
        return "must be a color such as #3d49cf, in lowercase"
    if contrast(value, _SURFACES[field]) < _LEAST_CONTRAST:
        return f"must have a contrast of {_LEAST_CONTRAST} with {_SURFACES[field]}, on which it is text"
    return None


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colors as WCAG 2.2 has it, 1 to 21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    channels = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= _LINEAR else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


async def change(
    connection: postgres.Connection, tenant_id: str, columns: Mapping[str, str | bytes | None]
) -> list[str]:
    """Set columns of a locked tenant's portal, in its transaction; return which fields changed."""
    await connection.execute(SQL["insert_tenant_portal"], tenant_id)
    before = await connection.fetchrow(SQL["select_tenant_portal"], tenant_id)
    changed = {name: value for name, value in columns.items() if before is not None and before[name] != value}
    if changed:
        statement = sql.with_columns(SQL["update_tenant_portal"], changed, before=1)
        await connection.execute(statement, tenant_id, *changed.values())
    return [f"portal.{name}" for name in changed]


async def of_link(pool: postgres.Pool, link_id: UUID, *, with_logo: bool) -> tuple[Look, bytes]:
    """Return how the portal of a link's tenant looks, and its logo if that is asked for."""
    row = await pool.fetchrow(SQL["select_look_of_link"], link_id, with_logo)
    return (Look(), b"") if row is None else (Look.of(row), row["logo"] or b"")
