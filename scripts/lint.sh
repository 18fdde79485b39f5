#!/bin/sh
# Run every check of the source, and fail when one failed: scripts/lint.sh BIN
set -u

cd "$(dirname "$0")/.." || exit
bin=$1
failed=

check() {
    name=$1
    shift
    printf '%s\n' "== $name"
    "$@" || failed="$failed, $name"
}

# actionlint also gives what the workflows run to shellcheck, if `make chart-test` has installed it.
workflows() {
    shellcheck=.tools/venv/bin/shellcheck
    [ -x "$shellcheck" ] || shellcheck=
    .tools/bin/actionlint -shellcheck "$shellcheck"
}

check style "$bin/ruff" check .
check format "$bin/ruff" format --check .
# mypy and import-linter through Python: the scripts in a virtual environment do not survive a move of the clone.
check types "$bin/python" -m mypy
check contracts env PYTHONPATH=sdk/python/src "$bin/python" -c 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())'
check protos "$bin/buf" lint
if [ -x .tools/bin/actionlint ] || "$bin/python" scripts/tools.py actionlint || [ -n "${CI:-}" ]; then
    check workflows workflows
else
    printf '%s\n' '== workflows: not checked, because actionlint is missing'
fi
check 'generated files' "$bin/python" -m scripts.generate --check

if [ -n "$failed" ]; then
    printf '%s\n' "lint failed: ${failed#, }" >&2
    exit 1
fi
printf '%s\n' 'lint: all checks passed'
