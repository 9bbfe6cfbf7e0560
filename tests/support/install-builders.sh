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

unpack "$builders" "$release" "${packages[@]}"
settings=("PATH=\"$builders/bin:\$PATH\"" "DEBOOTSTRAP_DIR=\"$builders/files/usr/share/debootstrap\"")
wrap "$builders" usr/bin/buildah "${settings[@]}"
wrap "$builders" usr/sbin/runc "${settings[@]}"
wrap "$builders" usr/sbin/debootstrap "${settings[@]}"
finish "$builders" "$release" buildah runc
