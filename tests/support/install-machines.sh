#!/usr/bin/env bash
# Unpacks the real daemons of the end-to-end tests, and installs nothing: containerd 1.6, 1.7 and 2
# and docker-registry, from Debian's packages of three releases, into $HELIOGRAPH_TEST_CACHE/machines:
#   containerd-1.6 -> containerd-1.6.20~ds1-1+deb12u3/{containerd,ctr}   and so on
# What is there is kept, also where Debian has moved on; remove the link to take the newest.
set -euo pipefail

cache=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}
machines=$cache/machines
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# link, package, release, programs to keep
wanted=(
    "containerd-1.6 containerd bookworm containerd ctr"
    "containerd-1.7 containerd trixie containerd ctr"
    "containerd-2 containerd sid containerd ctr"
    "docker-registry docker-registry bookworm docker-registry"
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

absent() {
    echo "no machines for the end-to-end tests: $1"
    exit 0
}
[[ $(id -u) == 0 ]] || absent "they need root"
for program in apt-get dpkg flock; do
    command -v $program >/dev/null || absent "they need $program"
done
[[ -r $keyring ]] || absent "they need the package debian-archive-keyring"

mkdir -p "$machines"
exec 9>"$machines/.lock"
flock 9
rm -rf "$machines"/.work.* # of a run that was killed
work=$(mktemp -d "$machines/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The mirror this machine uses already; lists and cache of our own, so that its apt sees none of it.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m 1 -E '/debian/?$' || true)
mirror=${mirror:-http://deb.debian.org/debian}

apt() { # release argument...
    local release=$1
    shift
    apt-get -qq -o "Dir::Etc::SourceList=$work/$release.sources" -o Dir::Etc::SourceParts=- \
        -o "Dir::State::Lists=$work/$release/lists" -o "Dir::Cache=$work/$release/cache" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

fetch() { # package release directory
    local package=$1 release=$2 directory=$3
    mkdir -p "$work/$release"/{lists,cache/archives}/partial "$directory"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$mirror" "$release" "$keyring" >"$work/$release.sources"
    for _ in 1 2 3; do
        if apt "$release" update && (cd "$directory" && apt "$release" download "$package"); then
            return
        fi
    done
    echo "could not download $package of $release from $mirror" >&2
    exit 1
}

for line in "${missing[@]}"; do
    read -r link package release programs <<<"$line"
    # shellcheck disable=SC2086
    ! complete "$link" $programs || continue # made by another run while this one waited
    fetch "$package" "$release" "$work/$link"
    deb=$(echo "$work/$link"/*.deb)
    dpkg -x "$deb" "$work/$link/files"
    name=$package-$(dpkg-deb --field "$deb" Version)
    mkdir "$work/$link/kept"
    for program in $programs; do mv "$work/$link/files/usr/bin/$program" "$work/$link/kept/"; done
    if ! "$work/$link/kept/$package" --version >/dev/null 2>&1; then
        echo "$name does not run on this machine: left out" >&2
        continue
    fi
    rm -rf "${machines:?}/$name"
    mv -T "$work/$link/kept" "$machines/$name"
    ln -s "$name" "$work/$link/link"
    mv -T "$work/$link/link" "$machines/$link"
    echo "unpacked $name"
done
