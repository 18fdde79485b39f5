"""Deliveries are verified by the SDKs and by the packages of Standard Webhooks, in three languages."""

import asyncio
import base64
import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dev.harness import receiver as receivers
from dev.reach.finding import Finding
from scripts.release import artifacts, check, versions
from scripts.release.artifacts import Missing, run, tool
from scripts.release.publishing import ROOT, Addresses
from webhook_service import AsyncClient

NPM_PACKAGE = "standardwebhooks@1"
GO_MODULE = "github.com/standard-webhooks/standard-webhooks/libraries"
GO_VERSION = "v0.0.1"
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

# Each verifies every case, by the SDK and by the package, and sees that an altered body is refused.
_PYTHON = """
import base64, json, sys
import standardwebhooks, webhook_service
cases = json.load(open(sys.argv[1]))
for case in cases:
    body, headers, secret = base64.b64decode(case["body"]), case["headers"], case["secret"]
    webhook_service.verify(body, headers, secret)
    standardwebhooks.Webhook(secret).verify(body, headers)
    for verify in (lambda b: webhook_service.verify(b, headers, secret),
                   lambda b: standardwebhooks.Webhook(secret).verify(b, headers)):
        try:
            verify(body + b" ")
        except Exception:
            continue
        sys.exit("an altered body was verified")
print(len(cases))
"""
_NODE = """
import { readFileSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';
import { verify } from 'SDK';
const cases = JSON.parse(readFileSync(process.argv[2], 'utf8'));
for (const { body, headers, secret } of cases) {
  const text = Buffer.from(body, 'base64').toString();
  const checks = [
    (sent) => verify(Buffer.from(sent), headers, [secret]),
    async (sent) => new Webhook(secret).verify(sent, headers),
  ];
  for (const check of checks) {
    await check(text);
    if (await check(`${text} `).then(() => true, () => false)) throw new Error('an altered body was verified');
  }
}
console.log(cases.length);
"""
_GO = """
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"

	standardwebhooks "MODULE/go"
	webhooks "SDK"
)

func main() {
	content, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var cases []struct {
		Body    []byte            `json:"body"`
		Headers map[string]string `json:"headers"`
		Secret  string            `json:"secret"`
	}
	if err := json.Unmarshal(content, &cases); err != nil {
		log.Fatal(err)
	}
	for _, one := range cases {
		header := http.Header{}
		for name, value := range one.Headers {
			header.Set(name, value)
		}
		package_, err := standardwebhooks.NewWebhook(one.Secret)
		if err != nil {
			log.Fatal(err)
		}
		for _, check := range []func([]byte) error{
			func(body []byte) error { _, err := webhooks.Verify(body, header, []string{one.Secret}); return err },
			func(body []byte) error { return package_.Verify(body, header) },
		} {
			if err := check(one.Body); err != nil {
				log.Fatal(err)
			}
			if check(append(one.Body, ' ')) == nil {
				log.Fatal("an altered body was verified")
			}
		}
	}
	fmt.Println(len(cases))
}
"""


async def _cases(url: str) -> list[dict[str, Any]]:
    """Return a delivery that was sent and one that was pulled, with their secrets."""
    tenant = f"reach-{uuid.uuid4().hex[:12]}"
    async with AsyncClient(url) as admin:
        await admin.tenants.create(tenant)
    async with AsyncClient(url, tenant=tenant) as client, receivers.receiving() as receiver:
        sent = await client.subscriptions.create(target_url=receiver.url(), event_types=["reach.*"])
        pulled = await client.subscriptions.create(destination="pull", event_types=["reach.*"])
        await client.events.publish("reach.verified", {"snow": "☃", "n": 1.0})
        (request,) = await receiver.wait_for(1)
        found = await client.subscriptions.pull(pulled.id, max_deliveries=1, wait_seconds=20)
    by_name = {name.lower(): value for name, value in found.deliveries[0].headers.items()}
    return [
        {
            "body": base64.b64encode(request.body).decode(),
            "headers": {name: request.headers[name] for name in _HEADERS},
            "secret": sent.secret_key,
        },
        {
            "body": found.deliveries[0].payload_base64,
            "headers": {name: by_name[name] for name in _HEADERS},
            "secret": pulled.secret_key,
        },
    ]


def _python(work: Path, cases: Path) -> str:
    environment = {"PYTHONPATH": str(ROOT / "sdk/python/src")}
    return run(sys.executable, "-c", _PYTHON, cases, folder=work, environment=environment)


def _node(work: Path, cases: Path) -> str:
    tarball, folder = artifacts.npm(work, work / "output", check.document()), work / "node-verification"
    folder.mkdir()
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    try:
        run(tool("npm"), "install", "--no-audit", "--no-fund", tarball, NPM_PACKAGE, folder=folder)
    except AssertionError as error:
        raise Missing(f"the npm registry cannot be reached: {str(error)[-300:]}") from error
    (folder / "verify.mjs").write_text(_NODE.replace("SDK", Addresses.read().npm))
    return run(tool("node"), "verify.mjs", cases, folder=folder)


def _go(work: Path, cases: Path) -> str:
    folder, module = work / "go-verification", Addresses.read().go
    folder.mkdir()
    program, environment = tool("go"), {"GOFLAGS": "-mod=mod", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    (folder / "main.go").write_text(_GO.replace("MODULE", GO_MODULE).replace("SDK", module))
    edits = (f"-require={module}@v{versions.current()}", f"-replace={module}={ROOT / 'sdk/go'}")
    run(program, "mod", "init", "verification.test/verification", folder=folder, environment=environment)
    run(program, "mod", "edit", *edits, folder=folder, environment=environment)
    try:
        run(program, "get", f"{GO_MODULE}@{GO_VERSION}", folder=folder, environment=environment)
    except AssertionError as error:
        raise Missing(f"the proxy of Go modules cannot be reached: {str(error)[-300:]}") from error
    return run(program, "run", ".", cases, folder=folder, environment=environment)


async def check_all(work: Path, url: str) -> list[Finding]:
    """Verify in each language whose tools and registry there are."""
    path = work / "cases.json"
    path.write_text(json.dumps(await _cases(url)))
    languages: dict[str, Callable[[Path, Path], str]] = {"Python": _python, "TypeScript": _node, "Go": _go}
    return [await asyncio.to_thread(_finding, language, verify, work, path) for language, verify in languages.items()]


def _finding(language: str, verify: Callable[[Path, Path], str], work: Path, cases: Path) -> Finding:
    what = f"what was sent and what was pulled is verified in {language} by the SDK and by standardwebhooks"
    try:
        printed = verify(work, cases)
    except Missing as error:
        return Finding(what=f"{what}: {error}", ok=None)
    except AssertionError as error:
        return Finding(what=f"{what}: {error}", ok=False)
    return Finding(what=what, ok=printed.strip() == "2")
