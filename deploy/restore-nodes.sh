#!/bin/sh
# The first step of an uninstall: every node's containerd files are as they were before, when this has ended well.
# Works on what is applied, whatever the overlay. NAMESPACE is another one than heliograph, KUBECTL another kubectl.
set -eu
patches=$(cd "$(dirname "$0")/components/cleanup" && pwd)
daemonset="daemonset heliograph-node --namespace ${NAMESPACE:-heliograph}"

# shellcheck disable=SC2086 # several words
{
    ${KUBECTL:-kubectl} patch $daemonset --patch-file "$patches/order.yaml"
    ${KUBECTL:-kubectl} patch $daemonset --type json --patch-file "$patches/patch.yaml"
    ${KUBECTL:-kubectl} rollout status $daemonset
}
