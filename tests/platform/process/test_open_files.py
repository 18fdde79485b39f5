"""The limit of open files is raised as far as possible."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from services.platform.process import lifecycle
soft, hard = (int(limit) for limit in sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
lifecycle.raise_open_files_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "expected"), [(256, 4096, 4096), (256, 20_000, 16_384), (18_000, 20_000, 18_000), (256, 256, 256)]
)
def test_soft_limit_is_raised_to_the_wanted_or_the_hard_limit_and_never_lowered(
    soft: int, hard: int, expected: int
) -> None:
    # In a separate process: a lowered hard limit cannot be raised again.
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == [str(expected), str(hard)]
