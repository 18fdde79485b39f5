#!/bin/sh
# Builds the image webhook-service, tagged with the version of pyproject.toml, and says how large it is: scripts/image.sh
# [ARGUMENTS OF BUILD]. ENGINE is docker or podman; whichever is there when it is empty.
set -eu

cd "$(dirname "$0")/.."
engine=${ENGINE:-$(command -v podman || command -v docker || true)}
[ -n "$engine" ] || { printf '%s\n' 'neither podman nor docker was found: install one, or name it with ENGINE=...' >&2; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || true)
"$engine" build --tag "webhook-service:$version" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    --build-arg "CREATED=$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$@" .
"$engine" image inspect --format '{{.Size}} bytes' "webhook-service:$version"
