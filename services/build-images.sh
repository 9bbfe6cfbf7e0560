#!/usr/bin/env bash
# Builds the images of all services with buildah: `make images`. Environment variables:
#   BASE        base image, with Python 3.11 or newer and glibc  (default: the Dockerfiles')
#   TAG         tag of the images                                (default: the version)
#   REPOSITORY  prefix of their names                            (default: the manifests')
#   BUILDAH     path of buildah                                  (default: the machine's, else Debian's, unpacked)
# The machine's own pip fetches the wheels into $HELIOGRAPH_TEST_CACHE/wheels, so that its index, certificates and
# credentials stay out of the build, which has no network.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${HELIOGRAPH_TEST_CACHE:-$HOME/.cache/heliograph}
services=(configurator indexer registry router)
base=${BASE:-$(sed -n 's/^ARG BASE=//p' services/router/Dockerfile)}
tag=${TAG:-$(sed -n 's/^version = "\(.*\)"$/\1/p' services/router/pyproject.toml)}
repository=${REPOSITORY:-ghcr.io/heliograph}
buildah=${BUILDAH:-$(command -v buildah || true)}
if [[ -z $buildah ]]; then
    tests/support/install-builders.sh
    buildah=$cache/builders/bin/buildah
fi
revision=$(git rev-parse HEAD 2>/dev/null || true)

work=$(mktemp -d)
container=
trap '[[ -z $container ]] || "$buildah" rm "$container" >/dev/null; rm -rf "$work"' EXIT

# Images are verified by the machine's policy, if it has one.
policy=()
if [[ ! -e /etc/containers/policy.json ]]; then
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"
    policy=(--signature-policy "$work/policy.json")
fi

container=$("$buildah" from --quiet "${policy[@]}" "$base")
run() { "$buildah" run --network none "$container" -- "$@"; }
python=$(run python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
machine=$(run uname -m)
"$buildah" rm "$container" >/dev/null
container=

# The platform tags of glibc wheels, up to 2.36: the glibc of the oldest base with a new enough Python.
platforms=(--platform "manylinux2014_$machine" --platform "manylinux2010_$machine" --platform "manylinux1_$machine")
for minor in {5..36}; do platforms+=(--platform "manylinux_2_${minor}_$machine"); done

fetch_wheels() { # $1: service. Fetches into a folder of its own, which is kept until a lock changes
    local wheels=$cache/wheels/$machine-$python/$1 lock
    local locks=(requirements-build.lock "services/$1/requirements.lock")
    if cat "${locks[@]}" | cmp --quiet - "$wheels/locks"; then return; fi
    [[ -x $cache/pip/bin/pip ]] || python3 -m venv "$cache/pip"
    rm -rf "$wheels"
    for lock in "${locks[@]}"; do
        "$cache/pip/bin/pip" download --quiet --disable-pip-version-check --no-deps --require-hashes \
            --only-binary :all: --implementation cp --python-version "$python" "${platforms[@]}" \
            --requirement "$lock" --dest "$wheels"
    done
    cat "${locks[@]}" >"$wheels/locks"
}

mkdir -p "$cache"
exec 9>"$cache/.wheels.lock" # held to the end, so that no other run removes wheels in use
flock 9
for service in "${services[@]}"; do fetch_wheels "$service"; done
for service in "${services[@]}"; do
    name=$repository/heliograph-$service:$tag
    "$buildah" build --quiet --network none "${policy[@]}" --file "services/$service/Dockerfile" --tag "$name" \
        --build-arg "BASE=$base" --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/mnt \
        --volume "$cache/wheels/$machine-$python/$service:/mnt:ro" \
        ${revision:+--label "org.opencontainers.image.revision=$revision"} . >/dev/null
    echo "built $name"
done
