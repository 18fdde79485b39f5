"""The audit log where nobody needs a key."""

import httpx

from dev.harness.api import Api
from dev.harness.stack import Stack


async def test_whoever_shows_no_key_is_anonymous(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=15) as http:
        subscription_id = await Api(http).subscribe("https://example.com/hook")

        answer = await http.get("/api/v1/admin/audit/", params={"resource_id": subscription_id})

    (entry,) = answer.json()["items"]
    assert (entry["action"], entry["actor"], entry["actor_role"]) == ("subscription.create", "anonymous", None)
