"""The console, the documentation, and their files; compression, HEAD, and caching."""

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from protos.webhook.v1 import subscriptions_pb2
from services.gateway.console import pages
from services.gateway.web import problems
from services.platform import ids
from tests.gateway.fakes import NOW, Services

PAGES = ["/docs", "/docs/", "/swagger", "/swagger/", "/swagger/index.html"]
CONSOLE = ["/", "/deliveries", "/deliveries/", f"/deliveries/{ids.new()}", "/subscriptions/new", "/sign-in"]
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
SUBSCRIPTIONS = "/api/v1/subscriptions"
WEBHOOK = f"/api/v1/webhooks/ingest/{ids.new()}"


@pytest_asyncio.fixture(loop_scope="session")
async def plain(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sends no Accept headers."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as opened:
        del opened.headers["accept-encoding"]
        del opened.headers["accept"]
        yield opened


def sources(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', page)


@pytest.mark.parametrize("path", [*PAGES, *CONSOLE])
async def test_a_page_has_all_its_files_here_and_no_script_of_its_own(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers=BROWSER)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert sources(answer.text)
    for source in sources(answer.text):
        assert source.startswith("/")
        assert (await client.get(source)).status_code == 200, source
    assert re.findall("<script(?! src=)", answer.text) == []
    assert re.findall(r'\son[a-z]+="|\sstyle="|<style', answer.text) == []


@pytest.mark.parametrize("path", ["/redoc", *PAGES, *CONSOLE])
async def test_a_page_may_not_load_from_other_origins_or_be_framed(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path, headers=BROWSER)).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert (policy["style-src"] == policy["img-src"] == "'self'") is (path in CONSOLE)
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"


async def test_the_root_is_the_console_for_people_and_leads_programs_to_the_document(plain: httpx.AsyncClient) -> None:
    browser, program = await plain.get("/", headers=BROWSER), await plain.get("/")
    assert browser.headers["content-type"] == "text/html; charset=utf-8"
    assert browser.headers["vary"] == "Accept, Accept-Encoding"
    assert program.headers["content-type"] == "application/json"
    assert program.headers["vary"] == "Accept"
    links = program.json()
    assert links.pop("title") == "Webhook delivery service"
    assert set(links) == {"docs", "openapi", "health"}
    for link in links.values():
        assert (await plain.get(link)).status_code == 200
    assert (await plain.post("/")).status_code == 405


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html;q=0, */*", "text/htmlx"])
async def test_the_path_of_a_page_does_not_exist_for_programs(plain: httpx.AsyncClient, accept: str | None) -> None:
    answer = await plain.get("/deliveries", headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.json()["reason"]) == (404, "UNKNOWN_PATH")
    assert answer.headers["vary"] == "Accept"
    assert (await plain.post("/deliveries", headers=BROWSER)).status_code == 405


async def test_every_page_of_the_console_is_the_same_document(client: httpx.AsyncClient) -> None:
    root = await client.get("/", headers=BROWSER)
    for page in pages.PAGES:
        answer = await client.get(f"/{page}", headers=BROWSER)
        assert (answer.status_code, answer.content) == (200, root.content), page
        assert (await client.get(f"/{page}x", headers=BROWSER)).status_code == 404, page


async def test_a_file_of_the_console_is_kept_by_browsers_at_the_address_of_its_version(
    client: httpx.AsyncClient,
) -> None:
    named = [source for source in sources((await client.get("/", headers=BROWSER)).text) if source.endswith(".css")]
    version, _, name = named[0].removeprefix("/console/assets/").partition("/")
    assert len(version) == 16
    kept, other = await client.get(named[0]), await client.get(f"/console/assets/{version[::-1]}/{name}")
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (other.status_code, other.content, other.headers["cache-control"]) == (200, kept.content, "no-cache")
    for path in (f"/console/assets/{name}", f"{named[0]}x"):
        assert (await client.get(path, headers=BROWSER)).status_code == 404, path
    for path in ("index.html", "../pyproject.toml", "..%2fpyproject.toml", "%2fetc%2fpasswd", ""):
        assert (await client.get(f"/console/assets/{version}/{path}")).status_code == 404, path


async def test_the_console_learns_whether_requests_need_a_key(client: httpx.AsyncClient) -> None:
    answer = await client.get("/console/session")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    nobody = {"key_id": "anonymous", "name": None, "role": "admin", "tenant_id": "default"}
    found = answer.json()
    assert found.pop("version")
    offered = {"development": True, "oidc": False, "trace_url": None}
    assert found == {"required": False, "caller": nobody, "expires_at": None, **offered}


def test_the_address_of_the_files_changes_with_any_of_them(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<script type="module" src="/console/assets/HASH/app.js"></script>')
    (tmp_path / "app.js").write_text("1")
    (tmp_path / "lib").mkdir()
    versions = set()
    for change in (
        {},
        {"app.js": "2"},
        {"lib/a.js": ""},
        {"lib/b.css": ""},
        {"index.html": "app.js"},
        {"a.test.js": ""},
    ):
        for name, text in change.items():
            (tmp_path / name).write_text(text)
        versions.add(pages.Console(tmp_path).version)
    assert len(versions) == 4  # neither the page nor a test is a file that browsers keep


def test_only_files_for_browsers_are_served(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("")
    names = (
        "app.js",
        "lib/x.svg",
        ".hidden.js",
        "types/api.js",
        "app.test.js",
        "vendor.json",
        "lib/_draft.js",
        "x.d.ts",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert pages.Console(tmp_path).names == ["app.js", "lib/x.svg"]


async def test_redoc_leads_to_the_docs(plain: httpx.AsyncClient) -> None:
    answer = await plain.get("/redoc")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


async def test_swagger_keeps_the_key_and_uses_no_online_validator(client: httpx.AsyncClient) -> None:
    (start,) = [source for source in sources((await client.get("/docs")).text) if "start.js" in source]
    script = (await client.get(start)).text
    for option in ('"persistAuthorization": true', '"validatorUrl": null', '"url": "/openapi.json"'):
        assert option in script


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/docs/assets/swagger-ui.css", "/docs/assets/start.js"])
async def test_immutable_files_are_sent_once(plain: httpx.AsyncClient, path: str) -> None:
    first = await plain.get(path)
    etag = first.headers["etag"]
    forever = path.startswith("/docs/assets")
    assert first.headers["cache-control"] == ("public, max-age=31536000, immutable" if forever else "no-cache")
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        again = await plain.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await plain.get(path, headers={"If-None-Match": '"other"'})).status_code == 200
    zipped = await plain.get(path, headers={"Accept-Encoding": "gzip"})
    assert zipped.headers["vary"] == first.headers["vary"] == "Accept-Encoding"
    assert zipped.content == first.content
    if "content-encoding" in zipped.headers:
        assert zipped.headers["etag"] != etag


# -- gzip --

TAKEN = ["gzip", "br, gzip;q=0.5", "GZIP", "*", "deflate, *;q=0.1", "x-gzip"]
REFUSED = ["", "identity", "br", "gzip;q=0", "gzip; q=0.000", "*;q=0", "gzip;q=0, *", "notgzip"]


def stored(count: int) -> dict[str, subscriptions_pb2.Subscription]:
    """Create this many subscriptions."""
    made = {}
    for _ in range(count):
        spec = subscriptions_pb2.SubscriptionSpec(
            target_url="https://example.com/hook",
            keep_when_disabled=True,
            signature_scheme=subscriptions_pb2.SIGNATURE_SCHEME_HMAC_SHA256,
            verification=subscriptions_pb2.VERIFICATION_AUTO,
            kind=subscriptions_pb2.SUBSCRIPTION_KIND_NORMAL,
        )
        status = subscriptions_pb2.SubscriptionStatus(
            status=subscriptions_pb2.SubscriptionStatus.STATUS_ACTIVE,
            status_since=NOW,
            effective_retry_policy=subscriptions_pb2.RetryPolicy(delays_seconds=[5]),
            breaker=subscriptions_pb2.Breaker(state=subscriptions_pb2.BREAKER_STATE_CLOSED),
            created_at=NOW,
            updated_at=NOW,
        )
        subscription = subscriptions_pb2.Subscription(id=str(ids.new()), spec=spec, status=status)
        made[subscription.id] = subscription
    return made


@pytest.mark.parametrize("accept_encoding", [*TAKEN, *REFUSED])
async def test_a_long_response_is_compressed_for_clients_that_accept_it(
    plain: httpx.AsyncClient, services: Services, accept_encoding: str
) -> None:
    services.stored = stored(20)
    async with plain.stream("GET", SUBSCRIPTIONS, headers={"Accept-Encoding": accept_encoding}) as answer:
        body = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["vary"] == "Accept-Encoding"
    assert int(answer.headers["content-length"]) == len(body)
    if accept_encoding in TAKEN:
        assert answer.headers["content-encoding"] == "gzip"
        body = gzip.decompress(body)
    else:
        assert "content-encoding" not in answer.headers
    assert body.count(b"https://example.com/hook") == 20


async def test_pages_and_files_are_compressed(client: httpx.AsyncClient) -> None:
    for path in ("/docs/assets/swagger-ui-bundle.js", "/docs/assets/swagger-ui.css", "/openapi.json", "/metrics"):
        answer = await client.get(path)
        assert answer.headers["content-encoding"] == "gzip", path
        assert int(answer.headers["content-length"]) < len(answer.content) / 2


async def test_short_answers_are_not_compressed(client: httpx.AsyncClient, services: Services) -> None:
    assert services.stored == {}
    for answer in (await client.post(WEBHOOK, content=b"1"), await client.get(SUBSCRIPTIONS), await client.get("/x")):
        assert not {"content-encoding", "vary"}.intersection(answer.headers)


# -- HEAD --


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/redoc", "/openapi.json", "/livez", SUBSCRIPTIONS, f"{SUBSCRIPTIONS}/{ids.new()}", "/nope"]
)
async def test_head_is_get_without_the_body(client: httpx.AsyncClient, services: Services, path: str) -> None:
    services.stored = stored(20)
    got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    changing = {"date", "x-request-id"}
    assert [pair for pair in head.headers.items() if pair[0] not in changing] == [
        pair for pair in got.headers.items() if pair[0] not in changing
    ]


async def test_head_of_a_path_without_get_is_405(client: httpx.AsyncClient) -> None:
    answer = await client.head(WEBHOOK)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
