"""`tls`: the 1 KB closed loop to a receiver behind TLS, with certificates of a temporary CA."""

from collections.abc import Sequence
from pathlib import Path

from dev.benchmarks import results, rig
from dev.benchmarks.bench import Bench, Table
from dev.benchmarks.results import Chart, Result, Scenario
from dev.harness import certificates

CASE = "1 KB closed, TLS"


def run(bench: Bench) -> Result:
    """Let the worker trust the CA through SSL_CERT_FILE, as it would trust a company's own CA."""
    authority, certificate, key = _certificates(bench.folder / "certificates")
    # Resolving and checking names is part of a delivery; loopback is allowed by name.
    environment = {"SSL_CERT_FILE": str(authority), "EGRESS_ALLOW": "127.0.0.0/8,::1/128"}
    with rig.running(bench, "tls", environment=environment, tls=(certificate, key)) as ready:
        paths = ready.webhook_paths()
        ready.warm_up(paths)
        runs = [ready.measure(CASE, ready.closed(paths)) for _ in range(bench.options.runs)]
    return results.headlined(runs, CASE)


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Create a CA, and a certificate with its key; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "authority.pem", folder / "certificate.pem", folder / "key.pem"
    authority = certificates.authority()
    issued = authority.issue("localhost", usages=(certificates.SERVER,), hosts=("localhost", "127.0.0.1"))
    for path, text in zip(paths, (authority.pem, issued.pem, issued.key_pem), strict=True):
        path.write_text(text)
    return paths


def _tables(result: Result) -> Sequence[Table]:
    return [results.load_table("TLS", result["cases"]), results.cpu_table("TLS", result["cases"])]


def _charts(result: Result) -> Sequence[Chart]:
    return [results.cpu_chart("tls-cpu", "CPU time of a webhook to a receiver behind TLS", result["cases"])]


SCENARIO = Scenario(name="tls", what="a receiver behind TLS", run=run, tables=_tables, charts=_charts)
