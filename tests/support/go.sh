# Sourced: finds a Go toolchain. Source debian.sh first. The caller sets $tools, where what is unpacked is kept, and
# $work, a directory on the same file system that it removes; it lets one run at a time call this.
# shellcheck shell=bash
export GOTOOLCHAIN=local # never download another toolchain

go_is() { # program, oldest version that will do
    local version
    version=$("$1" env GOVERSION 2>/dev/null) || return 1
    version=${version#go}
    [[ $(printf '%s\n' "$2" "${version%% *}" | sort -V | head -n 1) == "$2" ]]
}

# Sets $go to a Go of at least this version: the machine's own, else that of Debian sid, unpacked once into $tools/go.
# Where neither is possible $go is empty, and $no_go says why.
find_go() { # oldest version that will do
    no_go=
    for go in "$(command -v go || true)" "$tools/go/bin/go"; do
        [[ ! -x $go ]] || ! go_is "$go" "$1" || return 0
    done
    no_go=$(debian_lacks)
    if [[ -z $no_go ]]; then
        unpack_go
        ! go_is "$go" "$1" || return 0
        no_go="that of Debian sid is too old or does not run here"
    fi
    no_go="no Go $1 or newer: $no_go"
    go=
}

unpack_go() {
    local deb series version
    fetch sid "$work/golang-go" golang-go # only depends on the one with the programs, such as golang-1.27-go
    deb=$(echo "$work/golang-go"/*.deb)
    series=$(dpkg-deb --field "$deb" Depends | grep -oE 'golang-[0-9.]+-go' | head -n 1)
    series=${series#golang-} series=${series%-go}
    fetch sid "$work/go" "golang-$series-go" "golang-$series-src"
    version=$(dpkg-deb --field "$(echo "$work/go/golang-$series-go"_*.deb)" Version)
    for deb in "$work/go"/*.deb; do dpkg -x "$deb" "$work/go/files"; done
    rm -rf "${tools:?}/golang-$version"
    mv -T "$work/go/files/usr" "$tools/golang-$version"
    ln -s "golang-$version/lib/go-$series" "$work/go/link"
    mv -T "$work/go/link" "$tools/go"
    echo "unpacked golang-$version"
}
