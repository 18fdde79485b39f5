"""GET /api/v1/system of the whole service, and who may see it."""

from typing import Any

import httpx

from dev.harness.keys import ADMIN_KEY, Admin, bearer
from dev.harness.stack import ROLES
from dev.harness.waiting import wait_until
from services.platform.process import metrics
from tests.e2e.access.test_portal_links import token

PATH = "/api/v1/system"


async def test_an_operator_sees_every_process_store_and_day(http: httpx.AsyncClient) -> None:
    async def looked() -> dict[str, Any]:
        answer = await http.get(PATH, headers=bearer(ADMIN_KEY))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def complete() -> bool:
        processes = (await looked())["processes"]
        roles = {role for process in processes for role in process["roles"]}
        return roles == set(ROLES) and any(process["slots"] for process in processes)

    await wait_until(complete, what="all processes")
    found = await looked()
    assert found["unavailable"] == []
    assert {process["version"] for process in found["processes"]} == {metrics.VERSION} == {found["version"]}
    assert not any(process["missing"] for process in found["processes"])
    assert all((process["slots"] is not None) == ("worker" in process["roles"]) for process in found["processes"])
    assert len({(process["instance"], process["pid"]) for process in found["processes"]}) == len(found["processes"])
    assert found["postgres"]["partitions"]
    assert found["redis"]["error"] is None
    assert found["queue"]["held_known"] is True


async def test_keys_of_tenants_and_portal_links_see_nothing_of_it(
    http: httpx.AsyncClient, admin: Admin, a_name: str
) -> None:
    await admin.tenant(a_name)
    for role in ("write", "read", "ingest", "pull"):
        refused = await http.get(PATH, headers=bearer(await admin.key(a_name, role=role)))
        assert (refused.status_code, refused.json()["reason"]) == (403, "ROLE_INSUFFICIENT")
    assert (await http.get(PATH)).status_code == 401
    holder = await token(http, ADMIN_KEY, tenant_id=a_name)
    refused = await http.get(PATH, headers=bearer(holder))
    assert refused.status_code == 403, refused.text
