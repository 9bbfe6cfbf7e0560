# Sourced: downloads packages of Debian releases without installing them and without a trace in the machine's apt.
# The caller sets $work, a directory of its own that it removes.
# shellcheck shell=bash
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The mirror this machine uses already; lists and cache of our own, so that its apt sees none of it.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m 1 -E '/debian/?$' || true)
mirror=${mirror:-http://deb.debian.org/debian}

# Says on one line what is missing of what this needs; nothing if all is there.
debian_lacks() {
    [[ $(id -u) == 0 ]] || { echo "they need root" && return; }
    local program
    for program in apt-get dpkg flock; do
        command -v "$program" >/dev/null || { echo "they need $program" && return; }
    done
    [[ -r $keyring ]] || echo "they need the package debian-archive-keyring"
}

bootstrap() { # release root packages, a comma list; needs `make builders`
    local release=$1 root=$2 packages=$3
    local builders=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}/builders
    "$builders/bin/debootstrap" --variant=minbase --include="$packages" --keyring="$keyring" \
        "$release" "$root" "$mirror" >"$work/log" && return
    tail -n 20 "$work/log" "$root/debootstrap/debootstrap.log" >&2
    exit 1
}

apt() { # release argument...
    local release=$1
    shift
    apt-get -qq -o "Dir::Etc::SourceList=$work/$release.sources" -o Dir::Etc::SourceParts=- \
        -o "Dir::State::Lists=$work/$release/lists" -o "Dir::Cache=$work/$release/cache" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

fetch() { # release directory package...
    local release=$1 directory=$2
    shift 2
    mkdir -p "$work/$release"/{lists,cache/archives}/partial "$directory"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$mirror" "$release" "$keyring" >"$work/$release.sources"
    for _ in 1 2 3; do
        if apt "$release" update && (cd "$directory" && apt "$release" download "$@"); then
            return
        fi
    done
    echo "could not download $* of $release from $mirror" >&2
    exit 1
}

# Unpacks packages into $work/files, one run at a time, for programs that will lie in directory/bin; ends the
# script if they lie there already. Sets $work and $libraries: where the programs will find theirs.
unpack() { # directory release package...
    local directory=$1 release=$2 deb
    shift 2
    mkdir -p "$directory"
    exec 9>"$directory/.lock"
    flock 9
    [[ ! -e $directory/bin ]] || exit 0 # made by another run while this one waited
    rm -rf "$directory"/.work.* "$directory/files"
    work=$(mktemp -d "$directory/.work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    fetch "$release" "$work/debs" "$@"
    for deb in "$work/debs"/*.deb; do dpkg -x "$deb" "$work/files"; done
    mkdir "$work/bin"
    libraries=$(cd "$work/files" && printf "$directory/files/%s\n" usr/lib/*-linux-gnu* lib/*-linux-gnu* | paste -s -d :)
}

# Writes $work/bin/<name of the program>, which calls the program in directory/files with its libraries.
wrap() { # directory program variable=value...
    local directory=$1 program=$2
    shift 2
    {
        echo '#!/bin/sh'
        printf 'export %s\n' "LD_LIBRARY_PATH=\"$libraries\"" "$@"
        echo "exec \"$directory/files/$program\" \"\$@\""
    } >"$work/bin/${program##*/}"
    chmod 755 "$work/bin/${program##*/}"
}

# Moves what was unpacked to its place, once each program there prints its version.
finish() { # directory release program...
    local directory=$1 release=$2 program
    shift 2
    mv "$work/files" "$directory/files"
    for program in "$@"; do
        if ! "$work/bin/$program" --version >/dev/null; then
            echo "$program: that of Debian's $release does not run on this machine" >&2
            exit 1
        fi
    done
    mv "$work/bin" "$directory/bin"
    for program in "$@"; do
        echo "unpacked $("$directory/bin/$program" --version | head -n 1)"
    done
}
