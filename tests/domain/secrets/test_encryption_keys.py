"""ENCRYPTION_KEYS, and the key that development stores in DATA_DIR."""

import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dev.harness.keys import ENCRYPTION_KEY, OTHER_KEY
from services.analytics.settings import AnalyticsSettings
from services.delivery.settings import DeliverySettings, WorkerSettings
from services.domain.secrets import encryption
from services.domain.secrets.encryption import EncryptionSettings
from services.ingest.settings import IngestSettings
from services.platform.settings import load
from tests.platform.test_settings import refusal

ROOT = Path(__file__).resolve().parents[3]
SECRET = "hunter2-s3cret"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without .env, and an environment without our variables."""
    monkeypatch.chdir(tmp_path)
    for name in ("ENV", "ENCRYPTION_KEYS", "DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    # The other keys are tested elsewhere.
    monkeypatch.setenv("AUTH_REQUIRED", "false")


@pytest.mark.parametrize("cls", [IngestSettings, DeliverySettings, WorkerSettings])
def test_encryption_keys_are_required_outside_of_development(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cls: type[EncryptionSettings]
) -> None:
    monkeypatch.setenv("ENV", "production")
    assert refusal(capsys, cls).startswith("ENCRYPTION_KEYS: is required outside of development")
    monkeypatch.setenv("ENCRYPTION_KEYS", "")
    assert refusal(capsys, cls).startswith("ENCRYPTION_KEYS: is required outside of development")


def test_a_process_that_sees_no_secrets_needs_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV", "production")
    assert not hasattr(load(AnalyticsSettings), "encryption_keys")


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        base64.b64encode(SECRET.encode()).decode(),
        ENCRYPTION_KEY[:-4],
        ENCRYPTION_KEY + "AAAA",
        f"{ENCRYPTION_KEY},{SECRET}",
        f"{ENCRYPTION_KEY},",
        f"{ENCRYPTION_KEY} {OTHER_KEY}",
        "ä" * 44,
    ],
)
def test_an_invalid_key_is_reported_in_one_line_that_does_not_repeat_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("ENCRYPTION_KEYS", value)
    line = refusal(capsys, EncryptionSettings)
    assert line.startswith("ENCRYPTION_KEYS: must be 32 random bytes in base64")
    assert not any(part in line for part in value.split(",") if part)


@pytest.mark.parametrize(
    "value", [ENCRYPTION_KEY, f"{ENCRYPTION_KEY},{OTHER_KEY}", f" {ENCRYPTION_KEY} , {OTHER_KEY}\n"]
)
def test_keys_come_in_their_order(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ENCRYPTION_KEYS", value)
    settings = load(EncryptionSettings)
    found = [base64.b64encode(key).decode() for key in encryption.parse_keys(settings.encryption_keys)]
    assert found == [ENCRYPTION_KEY, OTHER_KEY][: len(found)]
    assert ENCRYPTION_KEY not in repr(settings)


def test_development_key_is_generated_once_and_readable_only_by_its_owner(tmp_path: Path) -> None:
    settings = EncryptionSettings(data_dir=tmp_path / "new" / "folder")
    made = encryption.given_or_kept(settings)
    assert len(encryption.parse_keys(made)) == 1
    assert encryption.given_or_kept(settings) == made
    (path,) = settings.data_dir.iterdir()
    assert path.name == "encryption.key"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR


def test_a_given_key_overrides_the_stored_one(tmp_path: Path) -> None:
    encryption.given_or_kept(EncryptionSettings(data_dir=tmp_path))
    given = EncryptionSettings(data_dir=tmp_path, encryption_keys=ENCRYPTION_KEY)
    assert encryption.given_or_kept(given) == ENCRYPTION_KEY


def test_a_file_that_is_not_a_key_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "encryption.key").write_text(SECRET)
    with pytest.raises(OSError, match=r"is not an encryption key: .*encryption\.key") as raised:
        encryption.given_or_kept(EncryptionSettings(data_dir=tmp_path))
    assert SECRET not in str(raised.value)
    assert (tmp_path / "encryption.key").read_text() == SECRET


def test_processes_that_start_together_have_one_key(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from services.domain.secrets import encryption\n"
        "sys.stdin.readline()\n"
        "print(encryption.given_or_kept(encryption.EncryptionSettings()), end='')\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "DATA_DIR": str(tmp_path / "data")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    made = {process.communicate()[0] for process in processes}
    assert made == {(tmp_path / "data/encryption.key").read_text()}
