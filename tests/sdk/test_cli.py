"""webhookctl and the real service, in a tenant of its own."""

import asyncio
import base64
import hashlib
import hmac
import io
import json
import stat
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]

from dev.harness.receiver import Receiver
from dev.harness.stack import Stack
from webhook_service import Client
from webhook_service.cli import app, following, profiles
from webhook_service.cli.deliveries import moment
from webhook_service.cli.following import Follower, Message
from webhook_service.errors import ApiError
from webhook_service.transport import Transport


class Ended(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Ended]


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> str:
    """A tenant that no other test knows."""
    name = f"cli-{uuid.uuid4().hex[:12]}"
    with Client(stack.base_url) as admin:
        admin.tenants.create(name)
    return name


@pytest.fixture
def webhookctl(
    stack: Stack, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run webhookctl in this process, in an empty home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("WEBHOOKCTL_URL", stack.base_url)
    monkeypatch.setenv("WEBHOOKCTL_TENANT", tenant)
    # As on a server: whether this machine has a keyring is not the point.
    monkeypatch.setitem(sys.modules, "keyring", None)

    def run(*arguments: str, stdin: str = "") -> Ended:
        monkeypatch.setattr(sys, "argv", ["webhookctl", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.run()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return run


async def test_send_publishes_exact_bytes_and_explain_says_what_became_of_them(
    webhookctl: Command, receiver: Receiver
) -> None:
    created = webhookctl("-o", "json", "subscriptions", "create", receiver.url("/cli"), "--events", "cli.*").json()[0]
    given = ("--data", '{"n":  1.0}', "--tag", "order=7", "--event-version", "3")
    sent = webhookctl("-o", "json", "send", "cli.sent", *given).json()[0]
    assert sent["deliveries"] == 1
    (request,) = await receiver.wait_for(1)
    assert (request.body, request.headers["X-Webhook-Event-Version"]) == (b'{"n":  1.0}', "3")
    delivery_id = request.headers["webhook-id"]
    listed = webhookctl("-o", "json", "deliveries", "--tag", "order=7", "--from", "1h").json()
    assert [(one["id"], one["event_version"]) for one in listed] == [(delivery_id, 3)]
    explained = webhookctl("explain", delivery_id)
    assert "attempt 1 at" in explained.out
    assert created["id"] in webhookctl("explain", sent["event_id"]).out
    webhookctl("subscriptions", "delete", created["id"])


def test_an_event_is_sent_later_listed_and_cancelled(webhookctl: Command) -> None:
    sent = webhookctl("-o", "json", "send", "cli.later", "--data", "{}", "--in", "2h", "--within", "10m").json()[0]
    assert sent["deliveries"] is None
    at = ("--at", sent["deliver_at"])
    assert "deliver at" in webhookctl("send", "cli.later", "--data", "{}", *at).out
    listed = webhookctl("-o", "json", "scheduled").json()
    assert [(one["event_type"], one["deliver_at"]) for one in listed] == [("cli.later", sent["deliver_at"])] * 2
    assert sent["event_id"] in webhookctl("cancel", sent["event_id"]).out
    assert len(webhookctl("-o", "json", "scheduled", "--limit", "5").json()) == 1
    refused = webhookctl("send", "cli.later", "--data", "{}", "--in", "soon")
    assert (refused.code, "such as 30s" in refused.err) == (1, True)


def test_trigger_publishes_made_up_events(webhookctl: Command) -> None:
    assert len(webhookctl("-o", "json", "trigger", "cli.triggered", "--count", "3").json()) == 3
    refused = webhookctl("trigger", "not a type")
    assert (refused.code, "event_type" in refused.err) == (1, True)


def test_subscriptions_are_found_by_name(webhookctl: Command) -> None:
    webhookctl("subscriptions", "create", "http://127.0.0.1:9/hook", "--name", "by-name", "--events", "none.*")
    assert "paused" in webhookctl("subscriptions", "pause", "by-name").out
    assert "by-name" in webhookctl("subscriptions", "list").out
    rotated = webhookctl("-o", "json", "subscriptions", "rotate-secret", "by-name", "--overlap-hours", "1").json()[0]
    assert rotated["secret_key"].startswith("whsec_")
    webhookctl("subscriptions", "delete", "by-name")
    missing = webhookctl("subscriptions", "show", "by-name")
    assert (missing.code, missing.err) == (1, "error: there is no subscription with the name by-name\n")


def test_a_failed_delivery_is_retried_and_recovered(webhookctl: Command, stack: Stack, tenant: str) -> None:
    created = webhookctl(
        "-o", "json", "subscriptions", "create", "http://127.0.0.1:9/hook", "--name", "lost", "--events", "lost.*"
    ).json()[0]
    webhookctl("subscriptions", "pause", "lost")
    webhookctl("send", "lost.event", "-d", "{}")
    with Client(stack.base_url, tenant=tenant) as client:
        (delivery,) = client.subscriptions.deliveries(created["id"])
        client.deliveries.cancel(delivery.id)
    (listed,) = webhookctl("-o", "json", "deliveries", "--subscription", "lost").json()
    assert listed["id"] == delivery.id
    assert webhookctl("-o", "json", "retry", delivery.id).json()[0]["status"] == "pending"
    job = webhookctl("-o", "json", "recover", "lost", "--from", "1h", "--wait").json()[0]
    assert job["status"] == "succeeded"
    assert job["id"] in webhookctl("jobs", "list").out
    assert "succeeded" in webhookctl("jobs", "show", job["id"]).out
    webhookctl("subscriptions", "delete", "lost")


def test_apply_makes_subscriptions_those_of_a_file_and_is_a_no_op_the_second_time(
    webhookctl: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLI_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    (tmp_path / "token").write_text("Bearer of-a-file\n")
    entry: dict[str, Any] = {
        "name": "applied",
        "target_url": "http://127.0.0.1:9/hook",
        "event_types": ["applied.*"],
        "metadata": {"team": "logistics", "customer": "acme"},
        "retry_policy": {"base_seconds": 5, "limit": 3},
        "filter": "event.data.amount > 100",
        "filter_on_error": "skip",
        "template": {"source": {"file": str(tmp_path / "room.json")}, "content_type": "application/json"},
        "template_secrets": {"room": {"env": "CLI_SECRET"}},
        "secret_key": {"env": "CLI_SECRET"},
        "headers": {"Authorization": {"file": str(tmp_path / "token")}},
    }
    source = '{"room": "{{ secrets.room }}", "amount": {{ event.data.amount }}}'
    (tmp_path / "room.json").write_text(source)
    file = tmp_path / "subscriptions.yaml"

    def write(*entries: dict[str, Any]) -> None:
        file.write_text(yaml.safe_dump({"subscriptions": [*entries]}))

    write(entry)
    created = webhookctl("apply", "-f", str(file))
    assert (created.code, "create applied" in created.out) == (0, True)
    assert 'event_types: ["applied.*"]' in created.out
    assert "MfKQ9r8" not in created.out + created.err
    assert "of-a-file" not in created.out + created.err
    assert webhookctl("apply", "-f", str(file)) == Ended(0, "", "nothing to change\n")

    write(entry | {"metadata": {"team": "shipping"}, "retry_policy": {"delays_seconds": [1, 2]}, "timeout_seconds": 5})
    differing = webhookctl("-o", "json", "diff", "-f", str(file))
    assert differing.code == 1
    assert differing.json()[0]["fields"] == ["metadata", "retry_policy", "timeout_seconds"]
    assert webhookctl("apply", "-f", str(file)).code == 0
    shown = webhookctl("-o", "json", "subscriptions", "show", "applied").json()[0]
    assert (shown["metadata"], shown["timeout_seconds"]) == ({"team": "shipping"}, 5.0)
    assert shown["retry_policy"]["delays_seconds"] == [1.0, 2.0]
    assert webhookctl("diff", "-f", str(file)).code == 0

    exported = tmp_path / "exported.yaml"
    assert webhookctl("export", "-f", str(exported)).code == 0
    (written,) = [one for one in yaml.safe_load(exported.read_text())["subscriptions"] if one["name"] == "applied"]
    assert written["secret_key"] == {"env": "APPLIED_SECRET"}
    assert (written["filter"], written["filter_on_error"]) == (entry["filter"], "skip")
    assert written["template"] == {"source": source, "content_type": "application/json"}
    assert written["template_secrets"] == {"room": {"env": "APPLIED_ROOM"}}
    assert webhookctl("diff", "-f", str(exported)).code == 0

    pulled = {"name": "pulled", "destination": "pull", "event_types": ["applied.*"], "expires_after_idle_seconds": 3600}
    write(entry, pulled)
    webhookctl("apply", "-f", str(file))
    webhookctl("export", "-f", str(exported))
    assert "\n  - name: pulled\n" in exported.read_text()
    assert pulled.items() <= yaml.safe_load(exported.read_text())["subscriptions"][1].items()
    assert webhookctl("diff", "-f", str(exported)).code == 0
    plain = {name: value for name, value in entry.items() if not name.startswith(("filter", "template"))}
    write(plain | {"template": {"preset": "slack"}}, pulled)
    assert webhookctl("-o", "json", "diff", "-f", str(file)).json()[0]["fields"] == [
        *("filter", "filter_on_error", "template", "template_secrets"),
    ]
    assert [webhookctl(command, "-f", str(file)).code for command in ("apply", "diff")] == [0, 0]
    write(entry | {"destination": "pull"}, pulled)
    assert "applied.destination cannot be changed from http" in webhookctl("apply", "-f", str(file)).err

    write(entry | {"name": "other", "headers": {}})
    assert "delete" not in webhookctl("apply", "-f", str(file)).out
    assert "delete applied" in webhookctl("apply", "-f", str(file), "--prune").out
    write()
    webhookctl("apply", "-f", str(file), "--prune")


def test_apply_names_what_is_wrong_with_a_file(webhookctl: Command, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    for text, said in {
        "subscriptions: [{name: a, target: b}]": "a.target is not a known field",
        "subscriptions: [{target_url: b}]": "each subscription needs a name",
        "subscriptions: [{name: a}, {name: a}]": "a appears more than once",
        "[]": "must have a list of subscriptions",
    }.items():
        file.write_text(text)
        assert webhookctl("apply", "-f", str(file)).err == f"error: {file}: {said}\n"
    file.write_text("subscriptions: [{name: a, target_url: 'http://127.0.0.1:9/', secret_key: {env: NOT_SET}}]")
    assert webhookctl("apply", "-f", str(file)).err == "error: a.secret_key: the variable NOT_SET is not set\n"


def test_login_stores_a_key_that_only_the_owner_reads_without_a_keyring(
    webhookctl: Command, stack: Stack, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(stack.base_url, tenant=tenant) as client:
        key = client.api_keys.create("of a laptop", "read", tenant_id=tenant)
    monkeypatch.delenv("WEBHOOKCTL_TENANT")
    done = webhookctl("login", stack.base_url, "--name", "laptop", stdin=f"{key.key}\n")
    assert done.code == 0, done.err
    assert str(key.key) not in done.out + done.err
    assert stat.S_IMODE(profiles.path().stat().st_mode) == 0o600
    monkeypatch.delenv("WEBHOOKCTL_URL")
    assert profiles.current().api_key == key.key
    assert str(key.key) not in repr(profiles.current())
    assert webhookctl("status").code == 0
    assert webhookctl("--profile", "none", "status").err.startswith("error: there is no profile none")
    # Another service does not get the key.
    monkeypatch.setenv("WEBHOOKCTL_URL", "http://127.0.0.1:9")
    assert profiles.current().api_key is None
    monkeypatch.setenv("WEBHOOKCTL_API_KEY", "whk_of_a_variable")
    assert profiles.current().api_key == "whk_of_a_variable"


def test_a_key_that_is_not_valid_is_not_stored(webhookctl: Command, stack: Stack) -> None:
    refused = webhookctl("login", stack.base_url, stdin="whk_wrong\n")
    assert refused.code == 1
    assert "log in with" in refused.err
    assert not profiles.path().exists()


def test_verify_says_whether_a_delivery_is_genuine(
    webhookctl: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, now = "It's a Secret to Everybody", str(int(time.time()))
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    (tmp_path / "body").write_bytes(b"{}")
    mac = base64.b64encode(hmac.digest(secret.encode(), f"a.{now}.{{}}".encode(), hashlib.sha256)).decode()
    headers = {"webhook-id": "a", "webhook-timestamp": now, "webhook-signature": f"v1,{mac}"}
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    assert webhookctl("verify", str(tmp_path / "body"), *options).code == 0
    (tmp_path / "body").write_bytes(b"[]")
    missing = tmp_path / "missing"
    assert webhookctl("verify", str(missing), *options).err == f"error: {missing}: No such file or directory\n"
    refused = webhookctl("verify", str(tmp_path / "body"), *options)
    assert (refused.code, "no signature" in refused.err) == (1, True)


def test_an_error_names_the_field_and_a_service_that_is_away_is_named(
    webhookctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "target_url" in webhookctl("subscriptions", "create", "ftp://example.com").err
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("WEBHOOKCTL_URL", "http://127.0.0.1:9")
    away = webhookctl("status")
    assert (away.code, "no response from http://127.0.0.1:9" in away.err) == (1, True)


def test_a_time_may_be_so_long_ago() -> None:
    assert moment("2026-03-14T15:00:00Z") == "2026-03-14T15:00:00+00:00"
    assert moment("2h") < moment("1h")
    with pytest.raises(ValueError, match="tomorrow is not a time"):
        moment("tomorrow")


def test_send_at_takes_a_time_and_not_how_long_ago_it_was(webhookctl: Command) -> None:
    refused = webhookctl("send", "cli.later", "--data", "{}", "--at", "24h")
    assert (refused.code, refused.err) == (
        1,
        "error: --at must be a time, such as 2026-03-14T15:00:00Z; for a delay, use --in, such as --in 2h\n",
    )


def test_messages_of_a_stream_have_a_position_and_what_they_say() -> None:
    lines = [
        "retry: 1000",
        "",
        ": nothing new",
        "id: 1-0",
        "",
        "id: 2-0",
        "event: deliveries",
        'data: {"items":',
        "data: []}",
        "",
    ]
    assert list(following.messages(lines)) == [
        Message("", "", ""),
        Message("1-0", "", ""),
        Message("2-0", "deliveries", '{"items":\n[]}'),
    ]


async def test_tail_is_told_by_the_stream_and_looks_at_the_list_where_there_is_none(
    stack: Stack, tenant: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = moment("1m")
    with Client(stack.base_url, tenant=tenant) as client:
        made = client.subscriptions.create(target_url=receiver.url("/tail"), event_types=["tailed.*"])

        def deliver() -> str:
            return client.events.publish("tailed.once", {}).event_id

        def following_it() -> Follower:
            return Follower(client, began=began, subscription_id=[made.id], status=["delivered"])

        first = deliver()
        changes = following_it().changes()
        assert (await asyncio.to_thread(next, changes)).event_id == first
        # From here on no list is needed.
        with monkeypatch.context() as patch:
            patch.setattr(Follower, "_look", lambda _: iter(()))
            following = asyncio.create_task(asyncio.to_thread(next, changes))
            sent: set[str] = set()
            while not following.done():  # the stream may have begun after the first ones, on a busy machine
                sent.add(deliver())
                await asyncio.wait({following}, timeout=5)
            change = following.result()
        assert change.event_id in sent
        assert (change.status, change.attempt_count, change.status_code) == ("delivered", 1, 200)
        changes.close()

        def refuse(*_: object) -> None:
            raise ApiError("Redis is unavailable", status=503)

        monkeypatch.setattr(Transport, "streaming", refuse)
        changes = following_it().changes()
        found = [(await asyncio.to_thread(next, changes)).event_id for _ in range(1 + len(sent))]
        assert set(found) == {first, *sent}
        third = deliver()
        assert (await asyncio.to_thread(next, changes)).event_id == third
        client.subscriptions.delete(made.id)


def test_event_types_are_created_checked_and_shown(webhookctl: Command, tmp_path: Path) -> None:
    schema, wider = tmp_path / "schema.json", tmp_path / "wider.json"
    schema.write_text('{"type": "object", "required": ["id"]}')
    wider.write_text('{"type": "object"}')

    made = webhookctl("-o", "json", "event-types", "create", "cli.made", "--schema", str(schema)).json()[0]
    assert (made["name"], made["current_version"]) == ("cli.made", 1)
    assert webhookctl("event-types", "check", "cli.made", "--schema", str(schema)).code == 0
    breaking = webhookctl("-o", "json", "event-types", "check", "cli.made", "--schema", str(wider))
    assert (breaking.code, breaking.json()[0]["path"]) == (1, "/required")
    assert webhookctl("event-types", "create", "cli.made", "--schema", str(wider)).code == 0
    assert "version 2, live" in webhookctl("event-types", "show", "cli.made").out
    assert [one["name"] for one in webhookctl("-o", "json", "event-types", "list").json()] == ["cli.made"]
    assert webhookctl("event-types", "show", "cli.none").err == "error: there is no event type cli.none\n"


def test_a_catalog_is_exported_and_imported(webhookctl: Command, tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text("""
openapi: 3.1.0
webhooks:
  cli.imported: {post: {requestBody: {content: {application/json: {schema: {type: object}}}}}}
  cli.refused: {}
""")
    tried = webhookctl("catalog", "import", str(file), "--dry-run")
    assert tried.code == 1
    assert "cli.imported" in tried.out
    assert "cli.refused: /webhooks/cli.refused: must have a post operation" in tried.err
    done = webhookctl("-o", "json", "catalog", "import", str(file)).json()
    assert [(one["name"], one["outcome"]) for one in done] == [("cli.imported", "created"), ("cli.refused", "refused")]

    exported = webhookctl("catalog", "export", "--format", "asyncapi", "--type", "cli.imported").out
    file.write_text(exported)
    assert json.loads(exported)["components"]["messages"]["cli.imported"]["name"] == "cli.imported"
    again = webhookctl("-o", "json", "catalog", "import", str(file))
    assert (again.code, again.json()[0]["outcome"]) == (0, "unchanged")
