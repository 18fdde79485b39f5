#!/bin/sh
# Makes .venv and installs the locked requirements: scripts/venv.sh local|dev|bench
#
# A copy of the requirements file, .venv/.installed-NAME, says what is installed. It is written when all went well, so
# an interrupted installation starts over, and a changed requirements file is installed again. pip is used as it is
# configured on this machine: its index, its certificates. PYTHON names the Python to use.
set -eu

cd "$(dirname "$0")/.."
name=$1
wanted=requirements/$name.txt
venv=.venv
stamp=$venv/.installed-$name
# Exists while .venv is being made. A .venv without it and without stamps was made by someone else and is kept.
unfinished=$venv/.unfinished

say() { printf '%s\n' "$*" >&2; }

# Prints why a Python cannot be used; nothing when it can.
why_not() {
    "$1" - <<'EOF' 2>/dev/null || echo 'it does not run'
import sys
if sys.version_info < (3, 11):
    print("it is Python %d.%d, and 3.11 or later is needed" % sys.version_info[:2])
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("it lacks venv: install python%d.%d-venv or what your system calls it" % sys.version_info[:2])
EOF
}

# Prints the first Python that can be used, or says the most useful of the reasons why none can.
find_python() {
    lacks='' old='' broken=''
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        reason=$(why_not "$candidate")
        case $reason in
            '') printf '%s\n' "$candidate"; return ;;
            *lacks*) lacks=${lacks:-"$candidate cannot be used: $reason"} ;;
            *needed*) old="$candidate cannot be used: $reason" ;;
            *) broken="$candidate cannot be used: $reason" ;;
        esac
    done
    missing="${PYTHON:-Python} was not found: install Python 3.11 or later, or name one with PYTHON=..."
    say "${lacks:-${old:-${broken:-$missing}}}"
    exit 1
}

if [ -f "$stamp" ] && cmp -s "$wanted" "$stamp" && [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

if [ -e "$unfinished" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    say "making $venv with $("$python" --version)"
    "$python" -c 'import sysconfig, sys; sys.exit("--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""))' \
        && say "it was built without --enable-optimizations, so the service takes about a fifth more CPU time than it has to"
    rm -rf "$venv"
    mkdir "$venv"
    : >"$unfinished"
    "$python" -m venv "$venv"
fi

say "installing $wanted (once)"
rm -f "$stamp"
: >"$unfinished"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$wanted"
cp "$wanted" "$stamp.new"
mv "$stamp.new" "$stamp"
# The development requirements hold those of running, in the same versions.
[ "$name" != dev ] || cp requirements/local.txt "$venv/.installed-local"
rm -f "$unfinished"
