#!/usr/bin/env bash
# Unpacks the real daemons of the end-to-end tests, and installs nothing: containerd 1.6, 1.7 and 2,
# docker-registry, promtool and clients, from Debian's packages of three releases, into $HELIOGRAPH_TEST_CACHE/machines:
#   containerd-1.6 -> containerd-1.6.20~ds1-1+deb12u3/{containerd,ctr}   and so on
# What is there is kept, also where Debian has moved on; remove the link to take the newest.
set -euo pipefail

cache=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}
machines=$cache/machines
# link, package, release, programs to keep
wanted=(
    "containerd-1.6 containerd bookworm containerd ctr"
    "containerd-1.7 containerd trixie containerd ctr"
    "containerd-2 containerd sid containerd ctr"
    "docker-registry docker-registry bookworm docker-registry"
    "promtool prometheus bookworm promtool"
    "crane crane sid crane"
    "oras oras sid oras"
    "dockerd docker.io sid dockerd"
)

complete() { # link program...
    local link=$1 program
    shift
    for program; do [[ -x $machines/$link/$program ]] || return 1; done
}

missing=()
for line in "${wanted[@]}"; do
    read -r link package release programs <<<"$line"
    # shellcheck disable=SC2086  # programs is a list
    complete "$link" $programs || missing+=("$line")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

# shellcheck source=tests/support/debian.sh
source "$(dirname "$0")/debian.sh"
lacking=$(debian_lacks)
if [[ -n $lacking ]]; then
    echo "no machines for the end-to-end tests: $lacking"
    exit 0
fi

mkdir -p "$machines"
exec 9>"$machines/.lock"
flock 9
rm -rf "$machines"/.work.* # of a run that was killed
work=$(mktemp -d "$machines/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

for line in "${missing[@]}"; do
    read -r link package release programs <<<"$line"
    # shellcheck disable=SC2086
    ! complete "$link" $programs || continue # made by another run while this one waited
    fetch "$release" "$work/$link" "$package"
    deb=$(echo "$work/$link"/*.deb)
    dpkg -x "$deb" "$work/$link/files"
    name=$package-$(dpkg-deb --field "$deb" Version)
    mkdir "$work/$link/kept"
    for program in $programs; do mv "$work/$link/files/usr"/*bin/"$program" "$work/$link/kept/"; done
    first=$work/$link/kept/${programs%% *}
    if ! "$first" --version >/dev/null 2>&1 && ! "$first" version >/dev/null 2>&1; then
        echo "$name does not run on this machine: left out" >&2
        continue
    fi
    rm -rf "${machines:?}/$name"
    mv -T "$work/$link/kept" "$machines/$name"
    ln -s "$name" "$work/$link/link"
    mv -T "$work/$link/link" "$machines/$link"
    echo "unpacked $name"
done
