#!/bin/sh
# Check the chart without a cluster: rendering, Kubernetes schemas, tests of the objects, policies, linters.
# Sets itself up in .tools: requirements/chart.txt in a virtual environment, Helm, kubectl, promtool and Prometheus.
# Arguments go to pytest.
set -eu

cd "$(dirname "$0")/.."
tools=.tools
chart=charts/webhook-service
wanted=requirements/chart.txt
python=$tools/venv/bin/python

say() { printf '%s\n' "$*" >&2; }

mkdir -p "$tools"
if ! cmp -s "$wanted" "$tools/venv/.installed" || ! "$python" -c '' 2>/dev/null; then
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        "$candidate" -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
        candidate=
    done
    [ -n "$candidate" ] || { say 'Python 3.11 or later with venv is needed: install it, or name one with PYTHON=...'; exit 1; }
    say "installing $wanted (once)"
    rm -rf "$tools/venv"
    "$candidate" -m venv "$tools/venv"
    "$python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$wanted"
    cp "$wanted" "$tools/venv/.installed"
fi
"$python" scripts/tools.py

PATH=$(pwd)/$tools/venv/bin:$(pwd)/$tools/bin:$PATH
# Helm gets its own folders, so that the user's are neither read nor changed.
HELM_CONFIG_HOME=$(pwd)/$tools/helm HELM_CACHE_HOME=$(pwd)/$tools/helm HELM_DATA_HOME=$(pwd)/$tools/helm
PYTHONPATH=.
export PATH PYTHONPATH HELM_CONFIG_HOME HELM_CACHE_HOME HELM_DATA_HOME
# No kubeconfig of the user and no cluster influences the result.
KUBECONFIG=/dev/null
export KUBECONFIG

failed=
check() {
    name=$1
    shift
    printf '%s\n' "== $name"
    "$@" || failed="$failed, $name"
}

lint() {
    status=0
    for helm in helm3 helm4; do
        for values in "$chart"/ci/*-values.yaml; do
            "$helm" lint --strict --quiet "$chart" --values "$values" || status=1
        done
    done
    return $status
}

policies() {
    # tests/chart/checkov.yaml lists the checks that are skipped, with reasons.
    status=0
    rm -rf "$tools/rendered"
    mkdir -p "$tools/rendered"
    for values in "$chart"/ci/*-values.yaml; do
        scenario=$(basename "$values" -values.yaml)
        helm4 template demo "$chart" --namespace webhook --values "$values" >"$tools/rendered/$scenario.yaml" || status=1
    done
    checkov --config-file tests/chart/checkov.yaml --directory "$tools/rendered" || status=1
    checkov --config-file tests/chart/checkov.yaml --file Dockerfile || status=1
    return $status
}

check 'helm lint' lint
check policies policies
check Dockerfile hadolint --config tests/chart/hadolint.yaml Dockerfile
check shell shellcheck scripts/*.sh .ci/run

check tests "$python" -m pytest -n 2 --dist loadfile --confcutdir=tests/chart tests/chart "$@"

if [ -n "$failed" ]; then
    say "chart-test failed: ${failed#, }"
    exit 1
fi
printf '%s\n' 'chart-test: all checks passed'
