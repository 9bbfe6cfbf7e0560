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

mkdir -p "$clients"
exec 9>"$clients/.lock"
flock 9
[[ ! -e $clients/bin ]] || exit 0 # made by another run while this one waited
rm -rf "$clients"/.work.* "$clients/files"
work=$(mktemp -d "$clients/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

fetch "$release" "$work/debs" "${packages[@]}"
for deb in "$work/debs"/*.deb; do dpkg -x "$deb" "$work/files"; done

mkdir "$work/bin"
folders=$(cd "$work/files" && printf "$clients/files/%s\n" usr/lib/*-linux-gnu* lib/*-linux-gnu*)
libraries=$(paste -s -d : <<<"$folders")
printf '[engine]\nconmon_path = ["%s"]\n' "$clients/files/usr/bin/conmon" >"$work/files/containers.conf"
for program in skopeo podman; do
    cat >"$work/bin/$program" <<WRAPPER
#!/bin/sh
export LD_LIBRARY_PATH="$libraries" CONTAINERS_CONF="$clients/files/containers.conf"
exec "$clients/files/usr/bin/$program" "\$@"
WRAPPER
    chmod 755 "$work/bin/$program"
done

mv "$work/files" "$clients/files"
for program in skopeo podman; do
    if ! "$work/bin/$program" --version >/dev/null; then
        echo "$program: that of Debian's $release does not run on this machine" >&2
        exit 1
    fi
done
mv "$work/bin" "$clients/bin"
echo "unpacked $("$clients/bin/skopeo" --version) and $("$clients/bin/podman" --version)"
