"""The OpenAPI document suits generators of clients: they have nothing to complain about.

Here are two for Python; test_typescript.py has one for TypeScript.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from services.gateway import app


def test_a_generator_of_models_makes_them_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(app.described().openapi()))
    # With the formatters that will be the default: the others announce it.
    options = (
        "--formatters",
        "builtin",
        "--input-file-type",
        "openapi",
        "--output-model-type",
        "pydantic_v2.BaseModel",
    )
    command = (sys.executable, "-m", "datamodel_code_generator", "--input", "openapi.json", "--output", "models.py")
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    used = "import models; print(models.Subscription, models.DeliveryStatus, models.OperationalEvent)"
    subprocess.run([sys.executable, "-c", used], cwd=tmp_path, capture_output=True, timeout=240, check=True)


def test_a_generator_of_clients_makes_every_operation_without_a_warning(tmp_path: Path) -> None:
    document = app.described().openapi()
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    binaries = Path(sys.executable).parent
    command = (sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none")
    done = subprocess.run(
        [*command, "--path", "openapi.json", "--output-path", "client"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},  # it formats with ruff
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.stem for path in (tmp_path / "client/api").rglob("*.py")}
    assert {operation["operationId"] for item in document["paths"].values() for operation in item.values()} <= made
