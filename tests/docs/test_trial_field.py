"""A new plain field of a subscription is written in four production files, and everything else follows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_FILES = 6
# By file: the text that the field is written beside, and what is written behind it.
EDITS = {
    "migrations/20261124000001_initial.sql": (
        "    endpoint_version integer NOT NULL DEFAULT 1,\n",
        "    trial text,\n",
    ),
    "protos/webhook/v1/subscriptions.proto": ("  string description = 3;\n", "  optional string trial = 12;\n"),
    "services/ingest/subscriptions/record.py": (
        "    target_url: str\n    event_types: tuple[str, ...]\n",
        "    trial: str | None\n",
    ),
    "services/gateway/resources/subscriptions/models.py": (
        (
            '    description: str = Field("", max_length=limits.MAX_DESCRIPTION_LENGTH,'
            ' description="Free-form description.")\n'
        ),
        "    trial: str | None = None\n",
    ),
}
STUBS = """
from scripts import protos

for path, text in protos.files().items():
    path.write_text(text)
"""
# In the copy: from a body of REST to a record, to an answer of REST, to a patch, and to the audit log.
CHECK = """
import msgspec
from datetime import UTC, datetime
from uuid import UUID
from services.domain.egress.policy import Policy
from services.domain.retry_policy import RetrySettings
from services.domain.secrets.signatures import SignatureScheme
from services.domain.secrets.vault import NONE
from services.gateway.resources.subscriptions import models
from protos.webhook.v1 import subscriptions_pb2 as pb
from services.ingest.subscriptions import changes, messages
from services.ingest.subscriptions.record import Breaker, Spec, Subscription

NOW = datetime.now(UTC)
body = models.SubscriptionBody.model_validate({"target_url": "https://example.com/", "trial": "a"})
spec = models.spec(body)
values = {name: messages._value(spec, name, None, []) for name in Spec.__struct_fields__}
row = {**values, "id": UUID(int=1), "tenant_id": "t", "version": 1, "created_at": NOW, "updated_at": NOW,
       "status": "active", "status_reason": None, "status_since": NOW, "sealed_secrets": None,
       "ingest_token_hash": None, "header_names": [], "sealed_verification_secrets": None, "client_certificate": None}
stored = Subscription.from_row(row)
assert stored.trial == "a"
assert msgspec.json.decode(msgspec.json.encode(stored), type=Subscription) == stored
message = messages.message((stored, Breaker()), NONE, NOW, RetrySettings(_env_file=None).retry_policy, [])
assert models.fields(message)["trial"] == "a"
patch = models.SubscriptionPatch.model_validate({"trial": "b"})
request = pb.UpdateSubscriptionRequest(spec=models.spec(patch), update_mask=models.update_mask(patch))
merged = changes.patched(request, stored)
assert (merged.trial, merged.target_url) == ("b", "https://example.com/")
after = msgspec.structs.replace(stored, trial=merged.trial)
(change,) = changes.field_changes(stored, after)
assert (change.field, change.before, change.after) == ("trial", "a", "b")
"""


def test_a_trial_field_takes_few_files_and_goes_through(tmp_path: Path) -> None:
    for folder in ("services", "protos", "scripts", "migrations"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (beside, added) in EDITS.items():
        path = tmp_path / name
        text = path.read_text()
        assert text.count(beside) == 1, name
        path.write_text(text.replace(beside, beside + added))
    assert len(EDITS) <= MOST_FILES

    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # of protoc's plugins
    environment = {**os.environ, "PATH": tools, "PYTHONPATH": str(tmp_path)}
    for command in (STUBS, CHECK):
        done = subprocess.run(
            [sys.executable, "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
