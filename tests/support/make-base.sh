#!/usr/bin/env bash
# Makes the root file system of the image that tests/images builds from, once: Debian's smallest variant with its
# Python, in $HELIOGRAPH_TEST_CACHE/builders/base-<version>.tar. Like Docker's python images it has pip, and no
# bytecode of the standard library; unlike them it needs no registry.
set -euo pipefail

builders=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}/builders
version=1 # of this recipe
base=$builders/base-$version.tar
release=bookworm
[[ ! -e $base ]] || exit 0

# shellcheck source=tests/support/debian.sh
source "$(dirname "$0")/debian.sh"
exec 9>"$builders/.lock"
flock 9
[[ ! -e $base ]] || exit 0 # made by another run while this one waited
rm -rf "$builders"/.base.* "$builders"/base-*
work=$(mktemp -d "$builders/.base.XXXXXX")
trap 'rm -rf "$work"' EXIT

root=$work/root
bootstrap "$release" "$root" python3,python3-venv
rm -rf "$root"/usr/share/{doc,info,locale,man}/* "$root"/var/{cache,log}/* "$root"/var/lib/apt/lists/* \
    "$root"/etc/{hostname,resolv.conf}
echo "deb http://deb.debian.org/debian $release main" >"$root/etc/apt/sources.list"
find "$root/usr/lib" -name __pycache__ -prune -exec rm -rf {} +
site=$root/usr/local/lib/$(basename "$root"/usr/lib/python3.*)/site-packages
mkdir -p "$site"
python3 -m zipfile -e "$root"/usr/share/python-wheels/pip-*.whl "$site"

tar --create --directory "$root" --file "$work/base.tar" --numeric-owner --exclude='./dev/*' .
mv "$work/base.tar" "$base"
echo "made Debian $release with Python, $(du -sh "$base" | cut -f 1)"
