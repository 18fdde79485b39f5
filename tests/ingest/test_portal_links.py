"""How portal links end, and what their secrets are exchanged for."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest

from services.ingest.access.portal_links import LinkDraft, PortalLinkStore
from services.platform import errors, ids
from services.platform.auth import identity, keys
from services.platform.auth.finder import KeyStore
from services.platform.auth.identity import Identity
from services.platform.auth.roles import PortalCapability, Role
from services.platform.stores import postgres

TENANT = identity.DEFAULT_TENANT
INSERT_KEY = (
    "INSERT INTO api_keys (id, tenant_id, key_hash, prefix, name, role) VALUES ($1, $2, $3, 'whk_aaaaaa', 'n', 'write')"
)
ENDINGS = (
    "UPDATE portal_links SET expires_at = now()",
    "UPDATE portal_links SET revoked_at = now()",
    "UPDATE api_keys SET expires_at = now()",
    "UPDATE api_keys SET revoked_at = now()",
)


@dataclass(frozen=True, kw_only=True)
class Links:
    """Links of one tenant."""

    pool: postgres.Pool
    store: PortalLinkStore
    found: KeyStore

    async def made(self, *, maker_hash: bytes | None = None) -> tuple[UUID, str]:
        """Make a link, with a key of its own or one that is in no table; return its id and its secret."""
        caller, secret = identity.BOOTSTRAP, keys.make_link_secret()
        if maker_hash is None:
            key_id = ids.new()
            await self.pool.execute(INSERT_KEY, key_id, TENANT, keys.digest(str(key_id)))
            caller = Identity(tenant_id=TENANT, role=Role.WRITE, key_id=str(key_id))
        identity.CALLER.set(caller)
        capabilities = frozenset({PortalCapability.VIEW})
        draft = LinkDraft(
            tenant_id=TENANT, capabilities=capabilities, subscriptions=(), expires_in_seconds=0, origin=""
        )
        made = await self.store.create(draft, secret_hash=keys.digest(secret), maker=caller, maker_hash=maker_hash)
        return made.id, secret

    async def exchanged(self, link_id: UUID, secret: str, token: str) -> bool:
        """Return whether a secret was exchanged for a token."""
        hashes = {"secret_hash": keys.digest(secret), "token_hash": keys.digest(token)}
        return await self.store.exchange(link_id, **hashes) is not None


@pytest.fixture
async def links(database: str) -> AsyncIterator[Links]:
    async with asyncpg.create_pool(database, min_size=0, max_size=2) as pool:
        yield Links(pool=pool, store=PortalLinkStore(pool), found=KeyStore(pool))


async def test_a_token_ends_with_its_link_and_with_its_key(links: Links) -> None:
    for ending in ENDINGS:
        link_id, secret = await links.made()
        with pytest.raises(errors.Unauthenticated):  # nobody has exchanged it
            await links.found.find_link(link_id=link_id, unlisted=())
        token = keys.make_portal_token()
        assert await links.exchanged(link_id, secret, token)
        by_token = {"token_hash": keys.digest(token), "unlisted": ()}
        for named in (by_token, {"link_id": link_id, "unlisted": ()}):
            found = await links.found.find_link(**named)
            assert (found.key_id, found.tenant_id) == (f"portal:{link_id}", TENANT)
        await links.pool.execute(ending)
        for named in (by_token, {"link_id": link_id, "unlisted": ()}):
            with pytest.raises(errors.Unauthenticated):
                await links.found.find_link(**named)


async def test_the_link_of_a_key_in_no_table_ends_when_that_key_is_replaced(links: Links) -> None:
    before, after = keys.digest("the bootstrap key"), keys.digest("another one")
    link_id, secret = await links.made(maker_hash=before)
    assert await links.exchanged(link_id, secret, keys.make_portal_token())
    assert (await links.found.find_link(link_id=link_id, unlisted=[before])).tenant_id == TENANT
    with pytest.raises(errors.Unauthenticated):
        await links.found.find_link(link_id=link_id, unlisted=[after])


async def test_a_secret_is_exchanged_once_for_its_own_link_while_that_lasts(links: Links) -> None:
    (link_id, secret), (other_id, _) = await links.made(), await links.made()
    assert not await links.exchanged(other_id, secret, keys.make_portal_token())
    assert await links.exchanged(link_id, secret, keys.make_portal_token())
    assert not await links.exchanged(link_id, secret, keys.make_portal_token())
    for ending in ENDINGS[:2]:
        link_id, secret = await links.made()
        await links.pool.execute(ending)
        assert not await links.exchanged(link_id, secret, keys.make_portal_token())
