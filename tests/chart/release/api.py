"""The part of the Kubernetes API that Helm uses when a template looks something up."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = {
    "/api/v1": ("Secret", "ConfigMap", "Service", "ServiceAccount", "Pod"),
    "/apis/apps/v1": ("Deployment", "StatefulSet"),
    "/apis/batch/v1": ("Job",),
    "/apis/policy/v1": ("PodDisruptionBudget",),
}
NOT_FOUND = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


def _answers() -> dict[str, Any]:
    groups = [path.split("/")[2:] for path in KINDS if path != "/api/v1"]
    versions = [{"groupVersion": "/".join(group), "version": group[1]} for group in groups]
    named = zip(groups, versions, strict=True)
    found: dict[str, Any] = {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [{"name": group[0], "versions": [v], "preferredVersion": v} for group, v in named],
        },
    }
    for path, kinds in KINDS.items():
        resources = [
            {"name": f"{kind.lower()}s", "kind": kind, "namespaced": True, "verbs": ["get", "list"]} for kind in kinds
        ]
        version = path.removeprefix("/apis/").removeprefix("/api/")
        found[path] = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
    return found


@contextlib.contextmanager
def serving(folder: Path, namespace: str, jobs: list[dict[str, Any]]) -> Iterator[Path]:
    """Serve a namespace with these Jobs; yield the kubeconfig for it."""
    answers = _answers()
    answers[f"/apis/batch/v1/namespaces/{namespace}/jobs"] = {
        "kind": "JobList",
        "apiVersion": "batch/v1",
        "items": jobs,
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0], NOT_FOUND)
            body = json.dumps(answer).encode()
            self.send_response(404 if answer is NOT_FOUND else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    path = folder / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    path.write_text(
        json.dumps({"clusters": [cluster], "contexts": [context], "users": [{"name": "u"}], "current-context": "c"})
    )
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
