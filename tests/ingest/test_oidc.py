"""Signing in by OpenID Connect, with a real provider: who gets a session, and who does not."""

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from pydantic import ValidationError

from dev.harness import oidc
from dev.harness.oidc import KEY, OTHER_KEY, Person, Provider, sign
from services.ingest.access.members import Member, MemberStore
from services.ingest.access.oidc import issuer as issuers
from services.ingest.access.oidc.settings import CALLBACK_PATH, OidcSettings
from services.ingest.access.oidc.sign_in import SignIn
from services.ingest.access.sessions import Session, SessionStore
from services.platform import errors
from services.platform.auth import keys
from services.platform.auth.finder import Finder, KeyStore
from services.platform.auth.roles import Role

REDIRECT_URL = f"http://localhost:8080{CALLBACK_PATH}"
GROUP_ROLES = [
    {"group": "operators", "role": "admin"},
    {"group": "CN=Webhooks, Readers", "role": "read"},
    {"group": "acme", "role": "write", "tenant_id": "acme"},
]


def settings_for(issuer: str, **changes: str) -> OidcSettings:
    given: dict[str, Any] = {
        "oidc_issuer": issuer,
        "oidc_client_id": oidc.CLIENT_ID,
        "oidc_client_secret": oidc.CLIENT_SECRET,
        "oidc_redirect_url": REDIRECT_URL,
        "oidc_group_roles": json.dumps(GROUP_ROLES),
    }
    return OidcSettings(_env_file=None, **given | changes)


@dataclass(frozen=True, kw_only=True)
class Back:
    """What a browser kept, and brings back from the provider."""

    attempt: str
    state: str
    code: str
    issuer: str

    def having(self, **changes: str) -> dict[str, str]:
        return {"attempt": self.attempt, "state": self.state, "code": self.code, "issuer": self.issuer} | changes


async def gone(sign_in: SignIn) -> Back:
    """Begin, and go to the provider and back as a browser does."""
    begun = await sign_in.begin()
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(begun.url)
    to = urlsplit(answer.headers["location"])
    assert f"{to.scheme}://{to.netloc}{to.path}" == REDIRECT_URL
    query = {name: values[0] for name, values in parse_qs(to.query).items()}
    return Back(attempt=begun.attempt, state=query["state"], code=query["code"], issuer=query["iss"])


async def completed(sign_in: SignIn, **changes: str) -> Member:
    return await sign_in.complete(**(await gone(sign_in)).having(**changes))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with oidc.providing() as running:
        running.person = Person(subject="ada", groups=["operators"])
        yield running


@pytest.fixture
def sign_in(provider: Provider) -> SignIn:
    return SignIn(settings_for(provider.issuer))


async def test_a_person_has_the_role_and_the_tenant_of_the_first_group_of_the_list(
    provider: Provider, sign_in: SignIn
) -> None:
    for groups, role, tenant_id in (
        (["others", "operators"], Role.ADMIN, "default"),
        (["acme", "CN=Webhooks, Readers"], Role.READ, "default"),
        (["acme"], Role.WRITE, "acme"),
    ):
        provider.person = Person(subject="ada", groups=groups)
        found = await completed(sign_in)
        assert (found.role, found.tenant_id, found.name, found.subject) == (role, tenant_id, "Ada Lovelace", "ada")
    # Its document and its keys were asked for once.
    assert [provider.asked.count(path) for path in ("/.well-known/openid-configuration", "/keys")] == [1, 1]


async def test_a_person_without_a_group_that_has_a_role_is_refused(provider: Provider, sign_in: SignIn) -> None:
    for groups in ([], ["others"], ["operators "]):
        provider.person = Person(subject="ada", groups=groups)
        with pytest.raises(errors.PermissionDenied) as refused:
            await completed(sign_in)
        assert refused.value.reason is errors.ErrorReason.ROLE_INSUFFICIENT
    for given in (None, 7, {"operators": True}, [["operators"]]):
        provider.token = functools.partial(_with_groups, given)
        with pytest.raises(errors.PermissionDenied):
            await completed(sign_in)


def _with_groups(groups: object, claims: dict[str, Any]) -> str:
    return sign(claims | {"groups": groups})


def _header_unsigned(claims: dict[str, Any]) -> str:
    """Return a token with a signature, whose header says that it has none."""
    return oidc.unsigned(claims) + sign(claims).rpartition(".")[2]


def _by_client_secret(claims: dict[str, Any]) -> str:
    """Return a token that everybody who knows the client's secret can make."""
    key = OctKey.import_key(oidc.CLIENT_SECRET)
    return jwt.encode({"alg": "HS256", "kid": KEY.kid}, claims, key, algorithms=["HS256"])


NOW = int(time.time())
SAME_NAME = RSAKey.import_key(OTHER_KEY.as_pem(private=True), {"kid": "first"})
WRONG: dict[str, Any] = {
    "the nonce of another sign-in": lambda claims: sign(claims | {"nonce": "another"}),
    "no nonce": lambda claims: sign({name: claims[name] for name in claims if name != "nonce"}),
    "another audience": lambda claims: sign(claims | {"aud": "another"}),
    "an audience among others, for another party": lambda claims: sign(
        claims | {"aud": [oidc.CLIENT_ID, "another"], "azp": "another"}
    ),
    "another issuer": lambda claims: sign(claims | {"iss": "https://other.example.com"}),
    "expired": lambda claims: sign(claims | {"iat": NOW - 7200, "exp": NOW - 3600}),
    "no end": lambda claims: sign({name: claims[name] for name in claims if name != "exp"}),
    "made in an hour": lambda claims: sign(claims | {"iat": NOW + 3600, "exp": NOW + 7200}),
    "no subject": lambda claims: sign({name: claims[name] for name in claims if name != "sub"}),
    "a subject that is no text": lambda claims: sign(claims | {"sub": 7}),
    "the hash of another access token": lambda claims: sign(claims | {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
    "not signed": oidc.unsigned,
    "not signed, with a signature": _header_unsigned,
    "signed by the secret of the client": _by_client_secret,
    "signed by another key of the same name": lambda claims: sign(claims, key=SAME_NAME),
    "signed by an unknown key": lambda claims: sign(claims, key=OTHER_KEY),
    "changed after it was signed": lambda claims: sign(claims)[:-8] + "AAAAAAAA",
    "no token": lambda _: "nothing",
    "too long": lambda claims: sign(claims | {"picture": "x" * 70_000}),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_token_that_is_not_for_this_sign_in_is_refused(provider: Provider, sign_in: SignIn, wrong: str) -> None:
    provider.token = WRONG[wrong]
    with pytest.raises(errors.Unauthenticated):
        await completed(sign_in)


async def test_what_another_browser_brings_back_is_refused(provider: Provider, sign_in: SignIn) -> None:
    one, other = await gone(sign_in), await gone(sign_in)
    for wrong in (
        one.having(state=other.state),
        one.having(attempt=other.attempt),
        one.having(attempt=""),
        one.having(state=""),
        one.having(state="é"),
        one.having(issuer="https://other.example.com"),
        one.having(issuer=""),  # the provider says that it names itself
        one.having(code=""),
        one.having(code="x" * 5000),
    ):
        with pytest.raises(errors.Unauthenticated):
            await sign_in.complete(**wrong)
    # None of that has asked the provider; the code of another sign-in has another verifier.
    assert "/token" not in provider.asked
    with pytest.raises(errors.Unauthenticated):
        await sign_in.complete(**one.having(code=other.code))
    assert (await sign_in.complete(**one.having())).subject == "ada"
    with pytest.raises(errors.Unauthenticated):  # a code is used once
        await sign_in.complete(**one.having())


async def test_a_new_key_of_the_issuer_is_found(
    provider: Provider, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    await completed(sign_in)
    provider.keys, provider.token = [KEY, OTHER_KEY], lambda claims: sign(claims, key=OTHER_KEY)
    with pytest.raises(errors.Unauthenticated):  # they were asked for just now
        await completed(sign_in)
    monkeypatch.setattr(issuers, "UNKNOWN_KEY_SECONDS", 0)
    await completed(sign_in)
    assert provider.asked.count("/keys") == 2


async def test_an_answer_of_the_issuer_has_a_bound(sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuers, "MAX_ANSWER_BYTES", 100)
    with pytest.raises(errors.Unavailable):
        await sign_in.begin()


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://other.example.com"},
        {"token_endpoint": "http://issuer.example.com/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": None},
    ],
)
async def test_a_document_that_is_not_the_issuers_is_not_used(
    provider: Provider, sign_in: SignIn, document: dict[str, Any]
) -> None:
    provider.document = document
    with pytest.raises(errors.Unavailable):
        await sign_in.begin()


async def test_an_issuer_that_is_away_is_asked_again_later_and_holds_up_nobody(
    provider: Provider, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/.well-known/openid-configuration"
    monkeypatch.setattr(issuers, "RETRY_SECONDS", 60)
    for answer in (
        lambda: web.Response(status=503),
        lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
        lambda: web.Response(body=b"[" * (2 << 20)),
    ):
        provider.answers[path] = answer
        fresh = SignIn(settings_for(provider.issuer))
        asked = len(provider.asked)
        for each in await asyncio.gather(*(fresh.begin() for _ in range(20)), return_exceptions=True):
            assert isinstance(each, errors.Unavailable)
        assert provider.asked[asked:] == [path]
    provider.answers.clear()
    await completed(sign_in)
    # What is known goes on while it is away.
    monkeypatch.setattr(issuers, "KEPT_SECONDS", 0)
    provider.answers[path] = lambda: web.Response(status=503)
    await sign_in.begin()
    # The exchange cannot.
    back = await gone(sign_in)
    provider.answers["/token"] = lambda: web.Response(status=500)
    with pytest.raises(errors.Unavailable):
        await sign_in.complete(**back.having())
    provider.answers["/token"] = lambda: web.json_response({"error": "invalid_client"}, status=401)
    with pytest.raises(errors.Unauthenticated):
        await sign_in.complete(**back.having())


async def test_exchanges_have_a_bound(provider: Provider, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    back = await gone(sign_in)
    monkeypatch.setattr(issuers, "MAX_WAITING", 0)
    with pytest.raises(errors.Overloaded):
        await sign_in.complete(**back.having())
    assert "/token" not in provider.asked


@dataclass(frozen=True, kw_only=True)
class World:
    """A database with the tenants, and what finds sessions in it."""

    pool: Any
    members: MemberStore
    finder: Finder

    async def signed_in(self, state: str, **changes: Any) -> tuple[Session, str]:
        token = keys.make_session_token()
        given = {"issuer": "https://i", "subject": "ada", "name": "Ada", "tenant_id": "default", "role": Role.READ}
        member = Member(**given | changes)
        session = await self.members.sign_in(member, state=state, token_hash=keys.digest(token), user_agent="a browser")
        return session, token


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with asyncpg.create_pool(database, min_size=0, max_size=4) as pool:
        await pool.execute("INSERT INTO tenants (id, name) VALUES ('acme', 'acme')")
        members = MemberStore(pool, SessionStore(pool))
        yield World(pool=pool, members=members, finder=Finder(KeyStore(pool), bootstrap_key=""))


async def test_a_member_is_one_for_all_sign_ins_and_no_key(world: World) -> None:
    first, token = await world.signed_in("1")
    second, _ = await world.signed_in("2", name="Ada King")
    assert (first.key_id, first.key_name, first.role) == (second.key_id, "Ada", Role.READ)
    found = await world.finder.find(token)
    assert (found.key_id, found.role, found.tenant_id) == (first.key_id, Role.READ, "default")
    entries = await world.pool.fetch("SELECT action, actor, actor_name FROM audit_entries ORDER BY id")
    assert [(entry["action"], entry["actor_name"]) for entry in entries] == [
        ("api_key.create", "Ada"),
        ("session.create", "Ada"),
        ("api_key.update", "Ada King"),
        ("session.create", "Ada King"),
    ]
    assert {entry["actor"] for entry in entries} == {first.key_id}
    # The same subject of another issuer is another person.
    other, _ = await world.signed_in("3", issuer="https://j")
    assert other.key_id != first.key_id


async def test_a_state_is_used_once_also_at_the_same_time(world: World) -> None:
    found = await asyncio.gather(*(world.signed_in("1") for _ in range(4)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in found) == ["Unauthenticated"] * 3 + ["tuple"]
    assert await world.pool.fetchval("SELECT count(*) FROM sessions") == 1


async def test_sessions_end_with_the_role_and_the_tenant_that_they_were_for(world: World) -> None:
    _, as_admin = await world.signed_in("1", role=Role.ADMIN)
    session, as_reader = await world.signed_in("2", role=Role.READ)
    with pytest.raises(errors.Unauthenticated):
        await world.finder.find(as_admin)
    await world.finder.find(as_reader)
    _, elsewhere = await world.signed_in("3", tenant_id="acme")
    with pytest.raises(errors.Unauthenticated):
        await world.finder.find(as_reader)
    assert (await world.finder.find(elsewhere)).tenant_id == "acme"
    # Who was revoked does not come back by signing in again.
    await world.pool.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1::uuid", session.key_id)
    with pytest.raises(errors.Unauthenticated):
        await world.signed_in("4")
    with pytest.raises(errors.PermissionDenied):
        await world.signed_in("5", tenant_id="nowhere")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"oidc_issuer": "http://issuer.example.com"}, "oidc_issuer"),
        ({"oidc_issuer": "https://user:password@issuer.example.com"}, "oidc_issuer"),
        ({"oidc_client_id": ""}, "OIDC_CLIENT_ID"),
        ({"oidc_redirect_url": "https://webhooks.example.com/elsewhere"}, "OIDC_REDIRECT_URL"),
        ({"oidc_redirect_url": ""}, "OIDC_REDIRECT_URL"),
        ({"oidc_group_roles": ""}, "OIDC_GROUP_ROLES"),
        ({"oidc_group_roles": "operators=admin"}, "oidc_group_roles"),
        ({"oidc_group_roles": "[]"}, "oidc_group_roles"),
        ({"oidc_group_roles": '[{"group": "a", "role": "ingest"}]'}, "0.role"),
        ({"oidc_group_roles": '[{"group": "a", "role": "read", "tenant_id": "*"}]'}, "0.tenant_id"),
    ],
)
def test_settings_that_are_wrong_are_named(changes: dict[str, str], named: str) -> None:
    settings_for("https://issuer.example.com")
    with pytest.raises(ValidationError) as wrong:
        settings_for("https://issuer.example.com", **changes)
    assert named in str(wrong.value)
