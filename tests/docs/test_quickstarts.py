"""The examples of the guides for senders and receivers run as printed, against the real service."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import nacl.signing
import pytest
import standardwebhooks

from dev.harness.stack import ROOT, Stack
from dev.harness.waiting import wait_until_sync

GUIDES = ROOT / "docs/guides"
SECRETS = {"hmac-sha256": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "plain secret": "It's a Secret to Everybody"}
SEED = bytes(range(32))
PRIVATE_KEY = nacl.signing.SigningKey(SEED)
PUBLIC_KEY = "whpk_" + base64.b64encode(bytes(PRIVATE_KEY.verify_key)).decode()
OTHER_KEY = "whpk_" + base64.b64encode(bytes(nacl.signing.SigningKey(bytes(32)).verify_key)).decode()
BODY = '{"n":  1, "☃": 1.0}'.encode()


def files(page: str) -> dict[str, str]:
    """Return the code of a page by its first line: a file name, and which of several if there are several."""
    blocks = re.findall(
        r"^```\w+\n((?:#|//) (\w+\.\w+(?:: \w+)?)\n.+?)^```", (GUIDES / page).read_text(), re.MULTILINE | re.DOTALL
    )
    return {name: code for code, name in blocks}


def toolchain(command: str) -> str:
    """Return the path of a toolchain; skip the test if it is not installed."""
    found = shutil.which(command)
    if found is None:
        pytest.skip(f"{command} is not installed")
    return found


# Well below a test's time limit: if the registry cannot be reached, npm retries for long.
NPM_SECONDS = 45


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the packages that the page names, once."""
    npm, folder = toolchain("npm"), tmp_path_factory.mktemp("npm")
    command = [
        npm,
        "install",
        "--no-audit",
        "--no-fund",
        "--fetch-retries=0",
        "--prefix",
        str(folder),
        "express@5",
        "standardwebhooks@1",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry cannot be reached")
    if done.returncode:
        pytest.skip("the npm registry cannot be reached")
    return folder / "node_modules"


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return the environment of an example: toolchains, a cache for Go's builds, and its own variables."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "go-build"
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GOCACHE": str(cache),
        "GOTOOLCHAIN": "local",
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }


# -- senders --


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("send.py", lambda: [sys.executable, "send.py"]),
        ("send.mjs", lambda: [toolchain("node"), "send.mjs"]),
        ("send.go", lambda: [toolchain("go"), "run", "send.go"]),
    ],
    ids=["python", "node", "go"],
)
@pytest.mark.timeout(360)
def test_a_sender_publishes_an_event(stack: Stack, tmp_path: Path, name: str, command: Callable[[], list[str]]) -> None:
    (tmp_path / name).write_text(files("sending.md")[name])
    fields = {"tenant_id": "default", "name": "shop", "role": "ingest"}
    key = httpx.post(f"{stack.base_url}/api/v1/admin/api-keys", json=fields, timeout=60).json()["key"]
    done = subprocess.run(
        command(),
        cwd=tmp_path,
        env=environment(tmp_path, WEBHOOK_URL=stack.base_url, WEBHOOK_API_KEY=key),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    event_id = json.loads(done.stdout.replace("'", '"'))["event_id"]
    event = httpx.get(f"{stack.base_url}/api/v1/events/{event_id}", timeout=60).json()
    assert (event["event_type"], event["payload"]) == ("order.created", {"order": 42})


def test_the_curl_commands_work_as_printed(stack: Stack, tmp_path: Path) -> None:
    page = (GUIDES / "sending.md").read_text()
    script = "\n".join(re.findall(r"^```sh\n(.+?)^```", page[: page.index("## Python")], re.MULTILINE | re.DOTALL))
    script = script.replace("http://127.0.0.1:8080", stack.base_url).replace('-H "Authorization: Bearer ', '-H "X-No: ')
    done = subprocess.run(
        ["/bin/sh", "-euc", script],
        env=environment(tmp_path, ADMIN_KEY=""),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"key":"whk_' in done.stdout
    assert '"secret_key":"whsec_' in done.stdout
    assert '"event_id":' in done.stdout


# -- receivers --


def fastapi(folder: Path, port: int) -> list[str]:
    """Return the command that starts the FastAPI receiver."""
    return [sys.executable, "-m", "uvicorn", "receiver:app", "--port", str(port), "--app-dir", str(folder)]


def express(_folder: Path, _port: int) -> list[str]:
    """Return the command that starts the Express receiver."""
    return [toolchain("node"), "receiver.mjs"]


def go(folder: Path, _port: int) -> list[str]:
    """Build the Go receiver and return the command that starts it."""
    command = [toolchain("go"), "build", "-o", "receiver", "receiver.go", "verify.go"]
    subprocess.run(command, cwd=folder, env=environment(folder), check=True, timeout=120)
    return [str(folder / "receiver")]


@contextmanager
def serving(command: list[str], folder: Path, port: int, **variables: str) -> Iterator[Path]:
    """Run a receiver until the end of the block; yield the file that it prints to."""
    output = folder / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(folder, PORT=str(port), **variables),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:

        def is_up() -> bool:
            assert process.poll() is None, output.read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{port}/", timeout=60).status_code > 0
            except httpx.TransportError:
                return False

        wait_until_sync(is_up, what="the receiver to listen")
        yield output
    finally:
        process.kill()
        process.wait()


def signed(scheme: str, moment: int, body: bytes = BODY, identifier: str = "msg_1") -> dict[str, str]:
    """Return the headers of a delivery, signed by a third-party library."""
    if scheme == "ed25519":
        signature = PRIVATE_KEY.sign(f"{identifier}.{moment}.".encode() + body).signature
        text = "v1a," + base64.b64encode(signature).decode()
    else:
        secret = SECRETS[scheme]
        key = secret if secret.startswith("whsec_") else secret.encode()
        text = standardwebhooks.Webhook(key).sign(identifier, datetime.fromtimestamp(moment, UTC), body.decode())
    return {"webhook-id": identifier, "webhook-timestamp": str(moment), "webhook-signature": f"v1,AAAA v1a,AAAA {text}"}


@pytest.mark.parametrize("scheme", ["hmac-sha256", "plain secret", "ed25519"])
@pytest.mark.parametrize("server", [fastapi, express, go])
def test_a_receiver_accepts_deliveries_and_refuses_forgeries(
    request: pytest.FixtureRequest,
    stack: Stack,
    tmp_path: Path,
    free_port: int,
    server: Callable[[Path, int], list[str]],
    scheme: str,
) -> None:
    if server is express:
        (tmp_path / "node_modules").symlink_to(request.getfixturevalue("node_modules"))
    kind = {fastapi: "py", express: "mjs", go: "go"}[server]
    pages = files("receiving.md")
    (tmp_path / f"receiver.{kind}").write_text(pages[f"receiver.{kind}"])
    version = "Ed25519" if scheme == "ed25519" else "HMAC"
    (tmp_path / f"verify.{kind}").write_text(pages[f"verify.{kind}: {version}"])
    variables = {"WEBHOOK_SECRET": SECRETS.get(scheme, ""), "WEBHOOK_PUBLIC_KEYS": f"{OTHER_KEY} {PUBLIC_KEY}"}
    url = f"http://127.0.0.1:{free_port}/hook"
    fields = {"target_url": url, "secret_key": SECRETS.get(scheme, "whsk_" + base64.b64encode(SEED).decode())}
    if scheme == "ed25519":
        fields["signature_scheme"] = scheme
    with serving(server(tmp_path, free_port), tmp_path, free_port, **variables) as output:
        created = httpx.post(f"{stack.base_url}/api/v1/subscriptions", json=fields, timeout=60)
        assert created.status_code == 201, created.text
        sent = httpx.post(
            f"{stack.base_url}/api/v1/webhooks/ingest/{created.json()['id']}",
            json={"payload": {"order": 42}},
            headers={"X-Event-Type": "order.created"},
            timeout=120,
        )
        delivery = f"{stack.base_url}/api/v1/webhooks/deliveries/{sent.json()['delivery_id']}"
        wait_until_sync(lambda: httpx.get(delivery, timeout=60).json()["status"] == "delivered", what="the delivery")
        wait_until_sync(lambda: "received order.created" in output.read_text(), what="its line in the output")

        def post(headers: Mapping[str, str], body: bytes = BODY) -> int:
            return httpx.post(url, content=body, headers=headers, timeout=60).status_code

        now = int(time.time())
        good = signed(scheme, now)
        assert [post(good), post(good)] == [204, 204]
        assert output.read_text().count("received") == 2, "the repeated delivery was processed twice"
        assert post(good, BODY + b" ") == 401
        assert post(good | {"webhook-id": "another"}) == 401
        assert post(good | {"webhook-signature": "v1,AAAA v1a,AAAA v2"}) == 401
        assert post(signed(scheme, now - 400)) == 401
        assert post({}) == 401
