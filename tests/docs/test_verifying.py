"""What docs/guides/verifying.md shows receivers takes our signatures, and no others."""

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from services.delivery.destinations.http import request
from services.domain.secrets.ed25519 import PrivateKey
from tests.delivery.claims import claim

PAGE = (Path(__file__).resolve().parents[2] / "docs/guides/verifying.md").read_text()
NEW, OLD, OTHER = (PrivateKey.of("whsk_" + base64.b64encode(bytes([number]) * 32).decode()) for number in range(3))
BODY = '{"n":  1, "☃": 1.0}'.encode()

Check = Callable[[Sequence[str], dict[str, str], bytes], bool]


def _block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def _python(public_keys: Sequence[str], headers: dict[str, str], body: bytes) -> bool:
    names: dict[str, Any] = {}
    exec(_block("python"), names)
    return bool(names["is_genuine"](public_keys, headers, body))


def _javascript(public_keys: Sequence[str], headers: dict[str, str], body: bytes) -> bool:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no Node.js")
    arguments = [json.dumps(public_keys), json.dumps(headers), base64.b64encode(body).decode()]
    call = (
        "const [keys, headers, body] = process.argv.slice(1);"
        "console.log(isGenuine(JSON.parse(keys), JSON.parse(headers), Buffer.from(body, 'base64')));"
    )
    ran = subprocess.run([node, "-e", _block("js") + call, *arguments], capture_output=True, text=True, check=True)
    return {"true": True, "false": False}[ran.stdout.strip()]


@pytest.mark.parametrize("check", [_python, _javascript])
def test_the_pages_receiver_takes_what_any_of_its_keys_signed_and_nothing_else(check: Check) -> None:
    now = int(time.time())
    headers = {name.lower(): value for name, value in request.build(claim(), [NEW, OLD], {}, BODY, now).headers.items()}
    assert check([NEW.public_key], headers, BODY)
    assert check([OTHER.public_key, OLD.public_key], headers, BODY)
    assert not check([OTHER.public_key], headers, BODY)
    assert not check([], headers, BODY)
    assert not check([NEW.public_key], headers, BODY + b" ")
    assert not check([NEW.public_key], headers | {"webhook-id": "another"}, BODY)
    assert not check([NEW.public_key], headers | {"webhook-signature": "v1a,AAAA v1,AAAA v2"}, BODY)
    stale = request.build(claim(), [NEW], {}, BODY, now - 400).headers
    assert not check([NEW.public_key], {name.lower(): value for name, value in stale.items()}, BODY)
