#!/bin/sh
# new-passwords.sh OVERLAY: writes random passwords, to replace the public ones, as the component OVERLAY/passwords.
# Changes nothing if the folder exists. For new passwords, remove the folder first.
set -eu

[ $# = 1 ] && [ -d "$1" ] || { echo "usage: $0 FOLDER-OF-YOUR-OVERLAY" >&2; exit 2; }
folder=$1/passwords
umask 077
mkdir "$folder" || { echo "$0: nothing changed, already there: $folder" >&2; exit 1; }

# A letter first, then letters and digits only, as NATS reads these files too: docs/adr/0020-bus-passwords.md.
random() {
    printf 'p%s' "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
}

for role in indexer router reader; do
    printf '%s:%s\n' "$role" "$(random)" > "$folder/$role"
done
password=$(random)
{
    echo "authorization { user: routes, password: $password }"
    echo 'routes: ['
    for number in 0 1 2; do
        echo "  nats://routes:$password@heliograph-nats-$number.heliograph-nats-routes:6222"
    done
    echo ']'
} > "$folder/routes.conf"
printf 'heliograph:%s\n' "$(random)" > "$folder/basic-auth"

{
    echo 'apiVersion: kustomize.config.k8s.io/v1alpha1'
    echo 'kind: Component'
    echo 'secretGenerator:'
    for role in indexer router reader; do
        echo "  - {name: heliograph-nats-$role, namespace: heliograph, behavior: replace, files: [user=$role]}"
    done
    echo '  - {name: heliograph-nats-routes, namespace: heliograph, behavior: replace, files: [routes.conf]}'
    echo '  # Used only with components/basic-auth.'
    echo '  - {name: heliograph-basic-auth, namespace: heliograph, files: [users=basic-auth]}'
} > "$folder/kustomization.yaml"
echo '*' > "$folder/.gitignore"
echo "written: $folder. List it first among the overlay's components, and do not publish it."
