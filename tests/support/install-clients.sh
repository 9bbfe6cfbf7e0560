#!/usr/bin/env bash
# Unpacks clients other than containerd, and installs nothing: skopeo and podman of Debian, with the libraries
# that a machine may lack, into $HELIOGRAPH_TEST_CACHE/clients; its bin/ has them ready to be called.
# What is there is kept, also where Debian has moved on; remove the folder to take the newest.
set -euo pipefail

clients=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}/clients
release=bookworm
packages=(skopeo podman conmon libassuan0 libdevmapper1.02.1 libgpgme11 libseccomp2 libsubid4)
[[ ! -e $clients/bin ]] || exit 0

# shellcheck source=tests/support/debian.sh
source "$(dirname "$0")/debian.sh"
lacking=$(debian_lacks)
if [[ -n $lacking ]]; then
    echo "no skopeo and podman for the end-to-end tests: $lacking"
    exit 0
fi

unpack "$clients" "$release" "${packages[@]}"
printf '[engine]\nconmon_path = ["%s"]\n' "$clients/files/usr/bin/conmon" >"$work/files/containers.conf"
wrap "$clients" usr/bin/skopeo "CONTAINERS_CONF=\"$clients/files/containers.conf\""
wrap "$clients" usr/bin/podman "CONTAINERS_CONF=\"$clients/files/containers.conf\""
finish "$clients" "$release" skopeo podman
