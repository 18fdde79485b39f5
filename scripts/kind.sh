#!/bin/sh
# The service on a cluster of this machine, workers scaled by queue depth: scripts/kind.sh up|demo|down|manifests
#
#   up         makes the cluster, builds and loads the image, installs what measures and the chart, waits
#   demo       loads it until the HPA adds workers, and shows them go again: dev/demo/kind.py
#   down       removes the cluster
#   manifests  prints what `up` applies beside the chart, and asks no cluster
#
# ENGINE is docker or podman; the one that runs when it is empty. Nothing but the context kind-webhook is touched.
set -eu

cd "$(dirname "$0")/.."
cluster=webhook
context=kind-$cluster
namespace=webhook
release=webhook

say() { printf '%s\n' "$*" >&2; }
kube() { kubectl --context "$context" "$@"; }

# Names every program that is missing, and how to get it.
need() {
    missing=
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 && continue
        missing=yes
        case $program in
            kind) say 'kind is missing: https://kind.sigs.k8s.io/docs/user/quick-start/#installation' ;;
            kubectl) say 'kubectl is missing: https://kubernetes.io/docs/tasks/tools/' ;;
            helm) say 'helm (3.14 or later) is missing: https://helm.sh/docs/intro/install/' ;;
            *) say "$program is missing: install it" ;;
        esac
    done
    [ -z "$missing" ] || exit 1
}

find_engine() {
    engine=${ENGINE:-}
    if [ -z "$engine" ]; then
        for candidate in ${KIND_EXPERIMENTAL_PROVIDER:-docker podman}; do
            command -v "$candidate" >/dev/null 2>&1 && "$candidate" info >/dev/null 2>&1 && engine=$candidate && break
        done
    fi
    [ -n "$engine" ] || { say 'no container engine runs: start docker or podman, or install one (https://podman.io/docs/installation), or name one with ENGINE=...'; exit 1; }
    # kind takes docker by itself.
    case $(basename "$engine") in podman*) export KIND_EXPERIMENTAL_PROVIDER=podman ;; esac
}

# A ConfigMap with one file, which is read from standard input: config_map NAMESPACE NAME KEY
config_map() {
    kubectl create configmap "$2" --namespace "$1" --from-file="$3=/dev/stdin" --dry-run=client --output yaml
    printf '%s\n' '---'
}

metrics_manifests() {
    cat kind/prometheus.yaml
    printf '%s\n' '---'
    { printf '%s\n' 'externalRules:'; cat charts/webhook-service/files/prometheus-adapter-rules.yaml; } |
        config_map monitoring prometheus-adapter config.yaml
    cat kind/prometheus-adapter.yaml
}

receiver_manifests() {
    config_map "$namespace" demo-receiver receiver.py <kind/receiver.py
    cat kind/receiver.yaml
}

load_image() {
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
    image=localhost/webhook-service:$version
    # Nothing in it but what is built: where that has not changed, the image has not, and no pod is made anew.
    ENGINE=$engine BUILDX_NO_DEFAULT_ATTESTATIONS=1 scripts/image.sh --build-arg CREATED=
    # docker and podman put different names before that of an image without a registry.
    "$engine" tag "webhook-service:$version" "$image"
    archive=$(mktemp)
    trap 'rm -f "$archive"' EXIT
    "$engine" save "$image" >"$archive"
    kind load image-archive "$archive" --name "$cluster"
    rm -f "$archive"
    # A new image of the same name: its pods are recreated.
    image_id=$("$engine" image inspect --format '{{.Id}}' "$image")
}

# Whether the API that the HPA asks has its answers for this release.
measured() {
    for metric in webhook_queue_depth webhook_busy_workers; do
        kube get --raw "/apis/external.metrics.k8s.io/v1beta1/namespaces/$namespace/$metric?labelSelector=release%3D$release" 2>/dev/null |
            grep -q '"value"' || return 1
    done
}

up() {
    need kind kubectl helm
    find_engine
    if kind get clusters 2>/dev/null | grep -qx "$cluster"; then
        say "the cluster $cluster is there"
    else
        kind create cluster --config kind-config.yaml --wait 180s
    fi
    load_image
    metrics_manifests | kube apply --filename -
    # Both read their configuration when they start.
    kube --namespace monitoring rollout restart deployment/prometheus deployment/prometheus-adapter
    # Before the chart: Helm asks for all APIs, and complains of one that is announced and does not answer.
    for deployment in prometheus prometheus-adapter; do
        kube --namespace monitoring rollout status "deployment/$deployment" --timeout 10m
    done
    kube wait apiservice/v1beta1.external.metrics.k8s.io --for condition=Available --timeout 2m
    helm --kube-context "$context" upgrade --install "$release" charts/webhook-service --namespace "$namespace" \
        --create-namespace --values charts/webhook-service/ci/kind-values.yaml \
        --set-string "podAnnotations.image-id=$image_id" --wait --wait-for-jobs --timeout 10m
    say 'waiting for the first measurement'
    waited=0
    until measured; do
        waited=$((waited + 2))
        [ "$waited" -le 180 ] || { say 'depth and busy workers are not answered: docs/operations/autoscaling.md says where to look'; exit 1; }
        sleep 2
    done
    cat <<EOF

The service runs: http://localhost:8080/docs
Its admin key:    kubectl --context $context -n $namespace get secret $release-webhook-service-keys -o jsonpath='{.data.bootstrap-admin-key}' | base64 -d
Its autoscaler:   kubectl --context $context -n $namespace get hpa --watch
Next:             make kind-demo, make kind-down
EOF
}

demo() {
    need kind kubectl
    # Where its nodes are is the engine's to say.
    find_engine
    kind get clusters 2>/dev/null | grep -qx "$cluster" || { say "cluster $cluster does not exist: make kind-up creates it"; exit 1; }
    scripts/venv.sh local
    receiver_manifests | kube apply --filename -
    # Its code is read when it starts.
    kube --namespace "$namespace" rollout restart deployment/demo-receiver
    kube --namespace "$namespace" rollout status deployment/demo-receiver --timeout 2m
    PYTHONPATH=. exec .venv/bin/python dev/demo/kind.py --context "$context" --namespace "$namespace" --release "$release"
}

down() {
    need kind
    find_engine
    kind delete cluster --name "$cluster"
}

case ${1:-} in
    up | demo | down) "$1" ;;
    manifests)
        need kubectl
        metrics_manifests
        printf '%s\n' '---'
        receiver_manifests
        ;;
    *)
        say 'usage: scripts/kind.sh up|demo|down|manifests'
        exit 2
        ;;
esac
