#!/usr/bin/env bash
# Builds the containerd that Debian does not have yet from its Go module, and installs nothing:
#   $HELIOGRAPH_TEST_CACHE/machines/containerd-2.4 -> containerd-2.4.2/{containerd,ctr}
# This takes a few minutes, once. Where it cannot be built the tests of this release are left out; in CI that fails.
set -euo pipefail

series=2.4
version=2.4.2
oldest_go=1.26.6 # as its go.mod says
machines=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}/machines
name=containerd-$version

complete() {
    [[ $(readlink "$machines/containerd-$series") == "$name" ]] &&
        [[ -x $machines/$name/containerd && -x $machines/$name/ctr ]]
}

left_out() { # why
    echo "no containerd $series for the tests: $1" >&2
    [[ -z ${CI:-} ]] || exit 1
    exit 0
}

! complete || exit 0
command -v flock >/dev/null || left_out "building it needs flock"
mkdir -p "$machines"
exec 9>"$machines/.lock"
flock 9
! complete || exit 0 # made by another run while this one waited
rm -rf "$machines"/.work.* # of a run that was killed
work=$(mktemp -d "$machines/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/support/debian.sh
source "$here/debian.sh"
# shellcheck source=tests/support/go.sh
source "$here/go.sh"
tools=$machines
find_go "$oldest_go"
[[ -n $go ]] || left_out "$no_go"

cd "$work" # away from any go.mod
for program in containerd ctr; do
    echo "building $program $version with $("$go" env GOVERSION)"
    # Without cgo it needs no C compiler; it then lacks only the btrfs snapshotter.
    CGO_ENABLED=0 GOBIN=$work/$name "$go" install -ldflags='-s -w' \
        "github.com/containerd/containerd/v2/cmd/$program@v$version" || left_out "$program $version could not be built"
done
"$work/$name/containerd" --version >/dev/null || left_out "$name does not run on this machine"
rm -rf "${machines:?}/$name"
mv -T "$work/$name" "$machines/$name"
ln -s "$name" "$work/link"
mv -T "$work/link" "$machines/containerd-$series"
echo "built $name"
