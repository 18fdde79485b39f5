#!/bin/sh
# Installs Debian's Chromium for the tests in a browser, as root, where there is none: scripts/chromium.sh
set -u

for program in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$program" >/dev/null 2>&1 && exit 0
done
[ "$(id -u)" = 0 ] || exit 1
export DEBIAN_FRONTEND=noninteractive
# A machine without a way to the packages must not be waited for.
timeout 60 apt-get update -qq && timeout 240 apt-get install -qq -y --no-install-recommends chromium
