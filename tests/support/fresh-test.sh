#!/usr/bin/env bash
# Runs `make TARGET` for each TARGET of $FRESH in a fresh clone of HEAD, on a bare Debian of each release in $RELEASES.
# Bare is what debootstrap makes, with make, git, ca-certificates and python3. It is kept as a tar in
# $HELIOGRAPH_TEST_CACHE/fresh, and each run unpacks it anew (see fresh-machine.sh).
set -euo pipefail

releases=${RELEASES:-bookworm trixie}
targets=${FRESH:-demo test}
support=$(cd "$(dirname "$0")" && pwd)
fresh=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}/fresh
version=1 # of this recipe

# shellcheck source=tests/support/debian.sh
source "$support/debian.sh"
lacking=$(debian_lacks)
if [[ -n $lacking ]]; then
    echo "no bare Debian for the fresh test: $lacking" >&2
    exit 1
fi

make_bare() ( # release
    exec 9>"$fresh/.lock"
    flock 9
    [[ ! -e $fresh/$1-$version.tar ]] || exit 0 # made by another run while this one waited
    echo "$1: making a bare Debian with debootstrap"
    rm -rf "$fresh"/.work.* "$fresh/$1"-*.tar
    work=$(mktemp -d "$fresh/.work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    bootstrap "$1" "$work/root" make,git,ca-certificates,python3
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/etc/{hostname,resolv.conf}
    tar --create --directory "$work/root" --file "$work/tar" --numeric-owner --exclude='./dev/*' .
    mv "$work/tar" "$fresh/$1-$version.tar"
)

# On disk, since some tests look at which pages of a file are in memory.
run=$fresh/run.$$
remove_run() {
    [[ -z $(jobs -p) ]] || kill -KILL "$(jobs -p)" # and with it all processes and mounts of the namespaces
    wait
    for _ in 1 2 3; do ! rm -rf "$run" 2>/dev/null || return 0; sleep 1; done
    echo "could not remove $run" >&2
}

mkdir -p "$fresh"
for left in "$fresh"/run.*; do # by runs that were killed
    [[ -d /proc/${left##*.} ]] || rm -rf "$left"
done
[[ -z $(git -C "$support" status --porcelain) ]] || echo "what is not committed is not tested"
for release in $releases; do make_bare "$release"; done
trap remove_run EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for release in $releases; do
    mkdir "$run"
    set -m # else the tests would run with SIGINT ignored
    # shellcheck disable=SC2086  # targets is a list
    setpriv --pdeathsig KILL -- unshare --mount --pid --fork --kill-child -- \
        "$support/fresh-machine.sh" "$release" "$fresh/$release-$version.tar" "$run" $targets &
    set +m
    wait "$!"
    remove_run
done
