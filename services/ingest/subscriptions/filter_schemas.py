"""Filters against the catalog: what a subscription's filter asks of its event types that their schemas rule out.

A tenant without a catalog, or without a filter, costs nothing.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from services.domain.events import WILDCARD
from services.domain.filters import expression
from services.ingest.catalog import conditions
from services.ingest.catalog.cache import Catalogs, Promised
from services.ingest.catalog.conditions import Finding
from services.platform import errors

# Schemas that a filter is compared with; event types beyond are not looked at.
MAX_SCHEMAS = 100
MAX_WARNINGS = 10
# Event types that a warning names.
MAX_NAMES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What was found."""

    warnings: Sequence[str] = ()
    # Whether no event that is accepted can ever fulfill the filter.
    is_vain: bool = False

    def refuse(self) -> None:
        """Raise InvalidArgument for a filter that no event fulfills."""
        if self.is_vain:
            description = f"can never be true: {'; '.join(self.warnings)}"
            raise errors.InvalidArgument.of(errors.Violation(field=expression.FIELD, description=description).bounded())


NOTHING = Checked()


class FilterSchemas:
    """Compares filters with the catalogs of this process."""

    def __init__(self, catalogs: Catalogs) -> None:
        self._catalogs = catalogs

    def concerns(self, tenant_id: str) -> bool:
        """Return whether there is anything to compare with."""
        return self._catalogs.has(tenant_id)

    async def check(self, tenant_id: str, text: str | None, entries: Sequence[str]) -> Checked:
        """Compare the filter of a subscription with the event types that it subscribes to; none means all."""
        if not text or not self._catalogs.has(tenant_id):
            return NOTHING
        tree = expression.tree(text)
        if tree is None:  # it is refused for that
            return NOTHING
        promised = await self._catalogs.promised(tenant_id, entries, MAX_SCHEMAS)
        found: list[tuple[Promised, Finding]] = []
        for one in promised:
            of_versions: list[Finding] = []
            for schema in one.schemas:
                began_at = time.perf_counter()
                of_versions.append(conditions.finding(tree, one.name, schema))
                await asyncio.sleep(time.perf_counter() - began_at)  # others go on for as long
            found.append((one, conditions.of_any(of_versions)))
        is_exact = bool(entries) and not any(entry.endswith(WILDCARD) for entry in entries)
        said = _of_each(found) if is_exact else _of_all(found)
        # Of several event types it may be meant for one, and what is not enforced may be sent all the same.
        is_vain = is_exact and len(entries) == len(found) == 1 and found[0][0].is_enforced and not found[0][1].can_match
        return Checked(warnings=said[:MAX_WARNINGS], is_vain=is_vain)


def _of_each(found: Sequence[tuple[Promised, Finding]]) -> list[str]:
    """Return what is wrong for some of the event types, which were named one by one."""
    names: dict[conditions.Mistake, list[str]] = {}
    for promised, one in found:
        for mistake in one.mistakes:
            names.setdefault(mistake, []).append(promised.name)
    said = [_sentence(mistake, types) for mistake, types in sorted(names.items())]
    if not said and found and not any(one.can_match for _, one in found):
        said.append(f"no event of {_named([promised.name for promised, _ in found])} fulfills the filter")
    return said


def _of_all(found: Sequence[tuple[Promised, Finding]]) -> list[str]:
    """Return what is wrong for all event types: a filter for some of those that `*` stands for is meant for these."""
    if not found:
        return []
    names = [promised.name for promised, _ in found]
    said = [_sentence(one, names) for one in sorted(frozenset.intersection(*(one.mistakes for _, one in found)))]
    if not said and not any(one.can_match for _, one in found):
        said.append(f"no event of {_named(names)} fulfills the filter")
    return said


def _sentence(mistake: conditions.Mistake, names: Sequence[str]) -> str:
    schemas = "schema" if len(names) == 1 else "schemas"
    return (
        f"{errors.cut(mistake.path, 200)} {errors.cut(mistake.description, 200)}, by the {schemas} of {_named(names)}"
    )


def _named(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMES
    shown = ", ".join(names[:MAX_NAMES])
    return f"{shown}, and {more} more" if more > 0 else shown
