#!/usr/bin/env bash
# Puts what the benchmarks need besides `make machines` into $HELIOGRAPH_TEST_CACHE/bench: nginx and wrk, unpacked
# from Debian's packages (nothing is installed), and the Go baseline (yardstick), built with the machine's Go, or with
# Debian's where there is none.
set -euo pipefail

tools=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}/bench
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$tools"

unpack() { # package, program within it, name
    [[ ! -e $tools/$3 ]] || return 0
    local work
    work=$(mktemp -d "$tools/.work.XXXXXX")
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$1" && dpkg -x ./*.deb files)
    cp --dereference "$work/files/$2" "$tools/$3"
    rm -rf "$work"
}

unpack nginx usr/sbin/nginx nginx
unpack wrk usr/bin/wrk wrk
unpack libluajit-5.1-2 "usr/lib/$(uname -m)-linux-gnu/libluajit-5.1.so.2" libluajit-5.1.so.2  # for wrk

work=$(mktemp -d "$tools/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/support/debian.sh
source "$here/../tests/support/debian.sh"
# shellcheck source=tests/support/go.sh
source "$here/../tests/support/go.sh"
find_go 1.19
[[ -n $go ]] || { echo "$no_go" >&2 && exit 1; }
"$go" version >"$tools/go-version"
(cd "$here/go" && GOFLAGS=-mod=mod "$go" build -o "$tools/yardstick" .)
