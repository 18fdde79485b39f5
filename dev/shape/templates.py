"""Templates: hostile sources end within their bounds, and presets make what their providers document."""

import asyncio
import itertools
import json
import time
from collections import Counter

import jsonschema_rs

from dev.shape import documents, hostile_templates
from dev.shape.report import Report
from services.domain import cloudevents
from services.domain.templates import presets
from services.domain.templates.child import Request
from services.domain.templates.event import Event
from services.domain.templates.sandbox import Sandbox
from services.domain.templates.template import Rendered, Template

HOSTILE = DOCUMENTS = 1_000
# Of what is random.
SEED = 1
# What is promised, of one rendering.
CPU_SECONDS, MEMORY_BYTES = 0.020, 32 << 20
# Longer than any may take by the clock of a busy machine.
ELAPSED_SECONDS = 10.0
_SECRETS = {"routing_key": "r" * 32}


def run() -> bool:
    """Check with full counts."""
    report = Report()
    asyncio.run(hostile(report, SEED, HOSTILE))
    documented(report, SEED, DOCUMENTS)
    return report.is_good


async def hostile(report: Report, seed: int, number: int) -> None:
    """Check and render hostile sources of a small event and of one of 256 KiB."""
    events = [
        _event({"text": "abc" * 10, "list": list(range(10))}),
        _event({"text": "abc" * 50_000, "list": list(range(20_000))}),
    ]
    sandbox = Sandbox()
    ends: Counter[str] = Counter()
    slowest = most_cpu = most_memory = 0.0
    try:
        for source, content_type in itertools.islice(hostile_templates.sources(seed), number):
            template = Template(source=source, content_type=content_type)
            for event in (None, *events):
                began_at = time.perf_counter()
                reply = await asyncio.wait_for(sandbox.ask(Request(template=template, event=event)), ELAPSED_SECONDS)
                slowest = max(slowest, time.perf_counter() - began_at)
                most_cpu, most_memory = max(most_cpu, reply.cpu_seconds), max(most_memory, reply.grown_bytes)
                ends[reply.ended or ("failed" if reply.error else "rendered")] += 1
    finally:
        await sandbox.close()
    ended = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    report.say(f"  {number} hostile templates, checked and rendered of two events: {ended}")
    bound = f"at most {CPU_SECONDS * 1000:g} ms of processor time (the longest took {most_cpu * 1000:.1f} ms)"
    report.check(f"each ended within {bound}", kept=most_cpu <= CPU_SECONDS)
    grown = f"{MEMORY_BYTES >> 20} MiB (the largest took {most_memory / (1 << 20):.1f} MiB)"
    report.check(f"each ended within {grown}", kept=most_memory <= MEMORY_BYTES)
    report.say(f"  the longest by the clock: {slowest * 1000:.0f} ms")


def documented(report: Report, seed: int, number: int) -> None:
    """Render random events with each preset, and compare with the provider's documented shape."""
    for name in presets.PRESETS:
        schema = jsonschema_rs.validator_for(documents.SCHEMAS[name], validate_formats=True)
        wrong = []
        for event in itertools.islice(documents.events(seed), number):
            made = presets.render(name, event, _SECRETS)
            if why := wrong_with(name, schema, made):
                wrong.append(why)
        said = f"{name}: {number} random events make {number - len(wrong)} documents of the documented shape"
        report.check(said + (f"; {wrong[0]}" if wrong else ""), kept=not wrong)


def wrong_with(name: str, schema: "jsonschema_rs.Validator", made: Rendered) -> str:
    """Return what is wrong with a document; empty if nothing is."""
    most = documents.MAX_BYTES.get(name)
    if most is not None and len(made.body) > most:
        return f"{len(made.body)} bytes, more than {most}"
    document = _attributes(made) if name == "cloudevents-binary" else json.loads(made.body)
    found = next(schema.iter_errors(document), None)
    if found is not None:
        return f"{found.message[:200]} at {list(found.instance_path)}"
    return documents.wrong_with(name, document)


def _event(data: object) -> Event:
    return Event(
        id="019ced70-1c5d-7f02-8f4b-2ab1c9d3e4f5",
        type="order.created",
        time="2026-03-14T15:09:26.535Z",
        content_type="application/json",
        payload=json.dumps(data).encode(),
        tenant_id="acme",
        subscription_id="019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61",
        delivery_id="019ced70-1c5d-7f02-a3d9-7c1e5b8f2046",
    )


def _attributes(made: Rendered) -> dict[str, str]:
    """Return the attributes of a CloudEvent in binary mode, which are its headers."""
    found = ((name.removeprefix("ce-"), value.encode()) for name, value in made.headers.items())
    return {name: cloudevents.from_header(value) for name, value in found}
