#!/usr/bin/env bash
# Runs the benchmarks in network and mount namespaces of their own, with loopback and a known congestion control. A machine set
# to BBR paces even loopback, with a timer per segment, and those timers would dominate the measurement.
set -euo pipefail
cd "$(dirname "$0")/.."
# reno does not pace (nor does cubic, Linux's default), and a new namespace may always choose it.
export CONGESTION=${CONGESTION:-reno}
exec unshare --net --mount -- bash -euc '
    ip link set lo up
    sysctl --quiet --write net.ipv4.tcp_congestion_control="$CONGESTION"
    exec "$@"' bench .venv/bin/python -m bench "$@"
