#!/usr/bin/env bash
# Unpacks what builds and runs images, and installs nothing: buildah, runc and debootstrap of Debian, with the
# libraries that a machine may lack, into $HELIOGRAPH_TEST_CACHE/builders; its bin/ has them ready to be called.
# What is there is kept, also where Debian has moved on; remove the folder to take the newest.
set -euo pipefail

builders=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}/builders
release=bookworm
packages=(buildah runc debootstrap libassuan0 libdevmapper1.02.1 libgpgme11 libseccomp2)
[[ ! -e $builders/bin ]] || exit 0

# shellcheck source=tests/support/debian.sh
source "$(dirname "$0")/debian.sh"
lacking=$(debian_lacks)
if [[ -n $lacking ]]; then
    echo "no buildah, runc and debootstrap: $lacking" >&2
    exit 1
fi

mkdir -p "$builders"
exec 9>"$builders/.lock"
flock 9
[[ ! -e $builders/bin ]] || exit 0 # made by another run while this one waited
rm -rf "$builders"/.work.* "$builders/files"
work=$(mktemp -d "$builders/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

fetch "$release" "$work/debs" "${packages[@]}"
for deb in "$work/debs"/*.deb; do dpkg -x "$deb" "$work/files"; done

mkdir "$work/bin"
folders=$(cd "$work/files" && printf "$builders/files/%s\n" usr/lib/*-linux-gnu* lib/*-linux-gnu*)
libraries=$(paste -s -d : <<<"$folders")
wrap() { # program, its path within the packages
    cat >"$work/bin/$1" <<WRAPPER
#!/bin/sh
export PATH="$builders/bin:\$PATH" DEBOOTSTRAP_DIR="$builders/files/usr/share/debootstrap"
export LD_LIBRARY_PATH="$libraries"
exec "$builders/files/$2" "\$@"
WRAPPER
    chmod 755 "$work/bin/$1"
}
wrap buildah usr/bin/buildah
wrap runc usr/sbin/runc
wrap debootstrap usr/sbin/debootstrap

mv "$work/files" "$builders/files"
for program in "buildah --version" "runc --version"; do
    # shellcheck disable=SC2086  # a program and its argument
    if ! "$work"/bin/$program >/dev/null; then
        echo "$program: that of Debian's $release does not run on this machine" >&2
        exit 1
    fi
done
mv "$work/bin" "$builders/bin"
echo "unpacked $("$builders/bin/buildah" --version) and $("$builders/bin/runc" --version | head -n 1)"
