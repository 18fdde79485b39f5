"""Show how a kind cluster scales its workers: a burst, more workers, everything delivered, fewer workers.

    PYTHONPATH=. .venv/bin/python dev/demo/kind.py [--context kind-webhook --namespace webhook --release webhook]

`make kind-demo` starts it, with the receiver in the cluster. It reads queue depth and busy workers where the HPA reads
them: from the API of external metrics. It exits with status 0 if workers were added, every accepted delivery reached
the receiver, and workers were removed; otherwise with 1, and one line that says what did not happen.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx

GATEWAY_URL = "http://localhost:8080"
RECEIVER = "demo-receiver:8080"
# So many subscriptions match each event: 480 deliveries a second, while a worker with the slots in kind-values.yaml
# sends 160.
SUBSCRIPTIONS = 8
EVENTS_PER_SECOND = 60.0
# Timeout of one event. It is sent again with the same Idempotency-Key until it gets 202.
ANSWER_TIMEOUT_SECONDS = 300.0
RETRY_SECONDS = 0.5
LINE_SECONDS = 3.0
KUBECTL_TIMEOUT_SECONDS = 20.0
# Long enough to watch.
LOAD_SECONDS = 60.0
GROWN_WITHIN_SECONDS = 240.0
DELIVERED_WITHIN_SECONDS = 300.0
SHRUNK_WITHIN_SECONDS = 600.0


class DemoError(Exception):
    """What did not happen. The message is for the user."""


class KubectlError(DemoError):
    """kubectl does not answer, as happens on a busy machine."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The cluster at one moment."""

    # What the HPA reads; None while there is no answer.
    depth: float | None
    busy_workers: float | None
    # Workers that are ready, and the requested number.
    ready: int
    wanted: int
    received: int


class Cluster:
    """What kubectl shows of a release."""

    def __init__(self, *, context: str, namespace: str, release: str) -> None:
        self._command = ["kubectl", "--context", context, "--namespace", namespace]
        self._namespace = namespace
        self._release = release
        self._labels = f"app.kubernetes.io/instance={release}"

    async def admin_key(self) -> str:
        """Return the first key of role `admin` in the chart's Secret."""
        for secret in await self._items("secret", self._labels):
            if key := secret["data"].get("bootstrap-admin-key"):
                return base64.b64decode(key).decode()
        raise DemoError(f"release {self._release} has no Secret with an admin key: make kind-up installs it")

    async def bounds(self) -> tuple[int, int]:
        """Return the minimum and maximum number of workers."""
        autoscalers = await self._items("horizontalpodautoscaler", f"{self._labels},app.kubernetes.io/component=worker")
        if not autoscalers:
            raise DemoError("the workers have no HorizontalPodAutoscaler: make kind-up installs it")
        return autoscalers[0]["spec"]["minReplicas"], autoscalers[0]["spec"]["maxReplicas"]

    async def look(self, path: str) -> Sight:
        """Everything that a line shows; `path` is the counted path of the receiver."""
        depth, busy, workers, received = await asyncio.gather(
            self._metric("webhook_queue_depth"),
            self._metric("webhook_busy_workers"),
            self._items("deployment", f"{self._labels},app.kubernetes.io/component=worker"),
            self._run("get", "--raw", f"/api/v1/namespaces/{self._namespace}/services/{RECEIVER}/proxy{path}"),
        )
        if not workers:
            raise DemoError(f"release {self._release} has no workers: make kind-up installs them")
        return Sight(
            depth=depth,
            busy_workers=busy,
            ready=workers[0]["status"].get("readyReplicas", 0),
            wanted=workers[0]["spec"]["replicas"],
            received=int(received),
        )

    async def _metric(self, name: str) -> float | None:
        """Return what an HPA gets for an external metric: the sum of the returned values."""
        api = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{self._namespace}/{name}"
        try:
            answer = await self._run("get", "--raw", f"{api}?labelSelector=release%3D{self._release}")
        except KubectlError:
            return None
        values = [item["value"] for item in json.loads(answer)["items"]]
        return sum(map(quantity, values)) if values else None

    async def _items(self, kind: str, selector: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            await self._run("get", kind, "--selector", selector, "--output", "json")
        )["items"]
        return found

    async def _run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(KUBECTL_TIMEOUT_SECONDS):
                output, errors = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise KubectlError(f"kubectl {arguments[0]} took over {KUBECTL_TIMEOUT_SECONDS:.0f} s") from error
        if process.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {errors.decode().strip()}")
        return output.decode()


class Load:
    """Subscriptions to a receiver, and events that match all of them."""

    def __init__(self, http: httpx.AsyncClient, target_url: str) -> None:
        self._http = http
        self._target_url = target_url
        self._event_type = f"demo.{uuid.uuid4().hex}"
        self._subscriptions: list[str] = []
        # Deliveries to these subscriptions, of events that got 202; other subscriptions may match the events, too.
        self.accepted = 0

    @contextlib.asynccontextmanager
    async def subscribed(self, number: int) -> AsyncIterator[None]:
        """Create this many subscriptions; they are deleted when the context ends."""
        try:
            for each in range(number):
                body = {"target_url": f"{self._target_url}/{each}", "event_types": [self._event_type]}
                answer = await self._http.post("/api/v1/subscriptions/", json=body)
                answer.raise_for_status()
                self._subscriptions.append(answer.json()["id"])
            yield
        finally:
            for subscription in self._subscriptions:
                await self._http.delete(f"/api/v1/subscriptions/{subscription}")

    async def run(self, events_per_second: float, enough: asyncio.Event) -> None:
        """Publish until the burst is over, and return when every event has a response."""
        async with asyncio.TaskGroup() as publishing:
            started, number = time.monotonic(), 0
            while not enough.is_set():
                publishing.create_task(self._publish(number))
                number += 1
                await asyncio.sleep(max(0.0, started + number / events_per_second - time.monotonic()))

    async def _publish(self, number: int) -> None:
        body = {"event_type": self._event_type, "payload": {"number": number}}
        headers = {"Idempotency-Key": f"{self._event_type}-{number}"}
        deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await self._http.post("/api/v1/events", json=body, headers=headers)
                if answer.status_code == httpx.codes.ACCEPTED:
                    self.accepted += len(self._subscriptions)
                    return
                if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    answer.raise_for_status()
            if time.monotonic() > deadline:
                raise DemoError(f"event {number} was not accepted within {ANSWER_TIMEOUT_SECONDS:.0f} s")
            await asyncio.sleep(RETRY_SECONDS)


class Demo:
    """The whole demo."""

    def __init__(self, cluster: Cluster, load: Load, path: str) -> None:
        self._cluster = cluster
        self._load = load
        self._path = path
        self._started = time.monotonic()

    async def show(self) -> None:
        """Run the demo; DemoError if it does not end as it should."""
        least, most = await self._cluster.bounds()
        await self._until(lambda sight: sight.ready == least, SHRUNK_WITHIN_SECONDS, f"there are {least} workers")
        say(f"events for {SUBSCRIPTIONS} subscriptions, {EVENTS_PER_SECOND:.0f} a second; {least} to {most} workers")
        async with self._load.subscribed(SUBSCRIPTIONS):
            enough = asyncio.Event()
            loading = asyncio.create_task(self._load.run(EVENTS_PER_SECOND, enough), name="load")
            try:
                until = time.monotonic() + LOAD_SECONDS
                await self._until(
                    lambda sight: sight.ready > least and time.monotonic() >= until,
                    GROWN_WITHIN_SECONDS,
                    "workers are added",
                )
            finally:
                enough.set()
                await loading
            say(f"workers were added; {self._load.accepted} deliveries were accepted, and the load has ended")
            await self._until(self._all_received, DELIVERED_WITHIN_SECONDS, "all of them are delivered")
        say("all of them are delivered; idle workers are now removed")
        sight = await self._until(
            lambda sight: sight.wanted == sight.ready == least,
            SHRUNK_WITHIN_SECONDS,
            f"there are {least} workers again",
        )
        if sight.received != self._load.accepted:
            raise DemoError(f"{self._load.accepted} deliveries were accepted, and {sight.received} received")
        say(f"{least} again. {self._load.accepted} accepted, {sight.received} received: nothing was lost")

    def _all_received(self, sight: Sight) -> bool:
        return sight.received >= self._load.accepted

    async def _until(self, reached: Callable[[Sight], bool], within_seconds: float, what: str) -> Sight:
        """Print the cluster every few seconds until the condition is true, and return its last state."""
        deadline = time.monotonic() + within_seconds
        while True:
            seconds = time.monotonic() - self._started
            try:
                sight = await self._cluster.look(self._path)
            except KubectlError as error:
                say(f"{seconds:5.0f} s  {error}")
            else:
                say(
                    f"{seconds:5.0f} s  depth {number(sight.depth):>7}"
                    f"  busy workers {number(sight.busy_workers, 2):>5}  workers {sight.ready} of {sight.wanted}"
                    f"  accepted {self._load.accepted:6}  received {sight.received:6}"
                )
                if reached(sight):
                    return sight
            if time.monotonic() > deadline:
                raise DemoError(f"not within {within_seconds:.0f} s: {what}")
            await asyncio.sleep(LINE_SECONDS)


def quantity(text: str) -> float:
    """Parse a Kubernetes quantity, as metrics have them: `12`, `700m`, `1k`."""
    for suffix, factor in {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9}.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


def number(value: float | None, digits: int = 0) -> str:
    """Return the number as it is shown."""
    return "?" if value is None else f"{value:.{digits}f}"


def say(line: str) -> None:
    """Print one line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def run(arguments: argparse.Namespace) -> None:
    """Create the parts and run the demo."""
    cluster = Cluster(context=arguments.context, namespace=arguments.namespace, release=arguments.release)
    headers = {"Authorization": f"Bearer {await cluster.admin_key()}"}
    path = f"/{uuid.uuid4().hex}"
    async with httpx.AsyncClient(base_url=arguments.gateway, headers=headers, timeout=15, trust_env=False) as http:
        await Demo(cluster, Load(http, f"http://{RECEIVER}{path}"), path).show()


def main() -> None:
    """Return exit status 0 only if all of it happened."""
    parser = argparse.ArgumentParser(description="Show how a kind cluster scales its workers.")
    parser.add_argument("--context", default="kind-webhook")
    parser.add_argument("--namespace", default="webhook")
    parser.add_argument("--release", default="webhook")
    parser.add_argument("--gateway", default=GATEWAY_URL)
    problem = None
    try:
        asyncio.run(run(parser.parse_args()))
    except* (DemoError, httpx.HTTPError) as errors:
        problem = "; ".join(str(error) or repr(error) for error in errors.exceptions)
    except* KeyboardInterrupt:
        problem = "stopped"
    sys.exit(problem)


if __name__ == "__main__":
    main()
