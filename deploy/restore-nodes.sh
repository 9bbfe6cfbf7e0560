#!/bin/sh
# The first step of an uninstall: restores every node's original containerd files, and waits until all are done.
# Works with every overlay. NAMESPACE overrides the namespace heliograph, KUBECTL the kubectl command.
set -eu
patches=$(cd "$(dirname "$0")/components/cleanup" && pwd)
daemonset="daemonset heliograph-node --namespace ${NAMESPACE:-heliograph}"

# shellcheck disable=SC2086 # several words
{
    ${KUBECTL:-kubectl} patch $daemonset --patch-file "$patches/order.yaml"
    ${KUBECTL:-kubectl} patch $daemonset --type json --patch-file "$patches/patch.yaml"
    ${KUBECTL:-kubectl} rollout status $daemonset
}
