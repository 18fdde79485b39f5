"""Installs what is published into empty environments, and runs the quickstarts as they are printed."""

import re
import subprocess
import sys
import venv
from pathlib import Path

import httpx

from scripts.release import versions
from scripts.release.artifacts import SECONDS, Missing, run, tool
from scripts.release.publishing import ROOT, Addresses

_DEFAULT_URL = "http://127.0.0.1:8080"
_NAME = "published"
# Receives one delivery, for the quickstart that verifies what it got.
_RECEIVER = """
import http.server, threading
got = {}
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        got.update(headers=dict(self.headers), body=self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        arrived.set()
    def log_message(self, *arguments):
        pass
arrived = threading.Event()
server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
target = f"http://127.0.0.1:{server.server_port}/hook"
"""
_WAIT = """
assert arrived.wait(120), "nothing was delivered"
headers, body = got["headers"], got["body"]
"""


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.+?)^```", text, re.MULTILINE | re.DOTALL)


def _replaced(text: str, words: dict[str, str]) -> str:
    for word, other in words.items():
        assert word in text, f"the quickstart no longer has {word}: change scripts/release/quickstarts.py with it"
        text = text.replace(word, other)
    return text


def tenant_of(url: str, name: str) -> str:
    """Make a tenant and a key that may write in it. Return the key."""
    with httpx.Client(base_url=f"{url}/api/v1/admin", timeout=60) as client:
        client.post("/tenants", json={"id": name}).raise_for_status()
        made = client.post("/api-keys", json={"tenant_id": name, "name": _NAME, "role": "write"})
        return str(made.raise_for_status().json()["key"])


def installed(wheel: Path, work: Path) -> Path:
    """Install the wheel with its command line into an empty environment. Return its programs."""
    folder = work / "python-environment"
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    pip = (programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    try:
        run(*pip, "install", f"{wheel}[cli]", folder=work)
    except AssertionError:
        try:
            run(*pip, "download", "--no-deps", "--dest", work / "reached", "httpx", folder=work)
        except AssertionError as error:
            raise Missing(f"the package index cannot be reached: {str(error)[-300:]}") from error
        raise
    return programs


def python(programs: Path, work: Path, url: str) -> None:
    """Run the quickstart of the Python package: subscribe, publish, and verify what arrives."""
    publish, check = blocks("sdk/python/README.md", "python")
    publish = _replaced(
        publish,
        {
            f'"{_DEFAULT_URL}"': repr(url),
            '"whk_…"': repr(tenant_of(url, "release-python")),
            '"https://example.com/hooks"': "target",
        },
    )
    script = work / "quickstart.py"
    script.write_text(f"{_RECEIVER}{publish}{_WAIT}{check}")
    run(programs / "python", "-I", script, folder=work)
    found = run(programs / "python", "-I", "-c", "import webhook_service as w; print(w.__version__)", folder=work)
    assert found.strip() == versions.current()


def command_line(programs: Path, work: Path, url: str) -> None:
    """Run the tour of the command line: listen, send, and see the delivery arrive."""
    environment = {
        "WEBHOOKCTL_URL": url,
        "WEBHOOKCTL_API_KEY": tenant_of(url, "release-cli"),
        "HOME": str(work),
        "NO_COLOR": "1",
    }
    command = programs / "webhookctl"
    script = work / "listener.py"
    script.write_text(f"{_RECEIVER}\nprint(server.server_port, flush=True)\narrived.wait({SECONDS})\n")
    with subprocess.Popen([sys.executable, "-I", script], stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - ours
        assert server.stdout
        port = server.stdout.readline().strip()
        options = ("--forward-to", f"localhost:{port}", "--events", "order.*", "--count", "1")
        with subprocess.Popen(  # noqa: S603 - ours
            [command, "listen", *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as listening:
            assert listening.stderr
            try:
                while "listening" not in (line := listening.stderr.readline()):
                    assert line, "webhookctl listen ended"
                run(command, "send", "order.created", "--data", '{"order": 42}', folder=work, environment=environment)
                printed, _ = listening.communicate(timeout=SECONDS)
            finally:
                listening.kill()
                server.kill()
    assert "order.created  204" in printed, printed
    listed = run(command, "--output", "json", "deliveries", folder=work, environment=environment)
    assert '"delivered"' in listed, listed


def typescript(tarball: Path, work: Path, url: str) -> None:
    """Install the npm package into an empty project, and run its quickstart."""
    folder = work / "npm-project"
    folder.mkdir()
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    run(tool("npm"), "install", "--no-audit", "--no-fund", "--offline", tarball, folder=folder)
    (code,) = blocks("sdk/typescript/README.md", "js")
    words = {_DEFAULT_URL: url, "'whk_…'": repr(tenant_of(url, "release-npm"))}
    (folder / "quickstart.mjs").write_text(_replaced(code, words))
    run(tool("node"), "quickstart.mjs", folder=folder)
    _assert_published(url, "release-npm")


def go(proxy: Path, work: Path, url: str) -> None:
    """Get the Go module into an empty module, and run the quickstart of its guide."""
    folder = work / "go-module"
    folder.mkdir()
    environment = {
        "GOPROXY": proxy.as_uri(),
        "GONOSUMDB": "*",
        "GOFLAGS": "-mod=mod -modcacherw",
        "GOTOOLCHAIN": "local",
        "GOPATH": str(work / "go"),
        "GOWORK": "off",
    }
    program, module = tool("go"), Addresses.read().go
    key = tenant_of(url, "release-go")
    code = blocks("docs/guides/sdk-go.md", "go")[0]
    (folder / "main.go").write_text(_replaced(code, {f'"{_DEFAULT_URL}"': f'"{url}", webhooks.WithAPIKey("{key}")'}))
    run(program, "mod", "init", "quickstart.test/quickstart", folder=folder, environment=environment)
    run(program, "get", f"{module}@v{versions.current()}", folder=folder, environment=environment)
    run(program, "run", ".", folder=folder, environment=environment)
    _assert_published(url, "release-go")


def _assert_published(url: str, tenant: str) -> None:
    found = httpx.get(f"{url}/api/v1/events", headers={"X-Tenant": tenant}, timeout=60).raise_for_status().json()
    assert [event["event_type"] for event in found["items"]] == ["order.created"], found
