#!/usr/bin/env bash
# The first process in the mount and PID namespaces that fresh-test.sh makes: unpacks a bare Debian, clones HEAD there,
# and runs make. What is mounted goes with the namespaces.
# Called as: fresh-machine.sh NAME TAR ROOT TARGET...
set -euo pipefail

name=$1 tar=$2 root=$3
targets=("${@:4}")
tree=$(cd "$(dirname "$0")/../.." && pwd)
machines=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}/machines
wheels=${XDG_CACHE_HOME:-$HOME/.cache}

mount --bind "$root" "$root" # containerd looks for the mount point of its folders
tar --extract --file "$tar" --directory "$root" --numeric-owner
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"

share() { # folder, its path in the home of root
    mkdir -p "$1" "$root/root/$2"
    mount --bind "$1" "$root/root/$2"
}
share "$machines" .cache/heliograph/machines
share "$wheels/uv" .cache/uv
share "$wheels/pip" .cache/pip

# The way to the registries is this machine's: names, authorities, proxies, indexes.
for file in /etc/{hosts,resolv.conf,pip.conf,uv/uv.toml,ssl/certs/ca-certificates.crt} \
    "$HOME"/{.pip/pip.conf,.config/pip/pip.conf,.config/uv/uv.toml}; do
    [[ ! -e $file ]] || install -D -m 644 "$file" "$root/${file/#$HOME//root}"
done
apt-config dump | grep -E '^Acquire::(https?|Check-[A-Za-z-]+|Retries)\b' >"$root/etc/apt/apt.conf.d/99host" || true
mapfile -d '' -t variables < <(env --null | grep --null-data --ignore-case -E \
    '^((PIP|UV)_[A-Z_]*(CERT|HOST|INDEX|LINKS|TIMEOUT|TLS)[A-Z_]*|SSL_CERT_(DIR|FILE)|(all|https?|no)_proxy)=')

inside() { # folder program...
    chroot "$root" env --ignore-environment --chdir="$1" HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        LANG=C.UTF-8 "${variables[@]}" "${@:2}"
}
git -C "$tree" bundle create --quiet "$root/root/heliograph.bundle" HEAD
inside /root git -c advice.detachedHead=false -c init.defaultBranch=main clone --quiet heliograph.bundle heliograph

for target in "${targets[@]}"; do
    echo "$name: make $target"
    began=$SECONDS
    inside /root/heliograph make "$target" ONCE=1 ${WORKERS:+WORKERS="$WORKERS"} || {
        echo "$name: make $target failed after $((SECONDS - began)) s" >&2
        exit 1
    }
    echo "$name: make $target passed in $((SECONDS - began)) s"
done
