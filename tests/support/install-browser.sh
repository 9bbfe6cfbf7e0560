#!/usr/bin/env bash
# Installs Debian's Chromium, with fonts to draw text with, for the browser tests; does nothing when it is there.
set -euo pipefail

fonts=/usr/share/fonts
[[ -x /usr/bin/chromium && -d $fonts/truetype/dejavu && -d $fonts/opentype/inter ]] && exit 0

absent() {
    echo "no browser for the browser tests: $1" >&2
    exit 1
}
[[ $(id -u) == 0 ]] || absent "installing it needs root"
command -v apt-get >/dev/null || absent "installing it needs apt-get"

export DEBIAN_FRONTEND=noninteractive
install=(apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends chromium fonts-dejavu-core fonts-inter)
"${install[@]}" >/dev/null 2>&1 || { apt-get -qq update && "${install[@]}" >/dev/null; }
/usr/bin/chromium --version
