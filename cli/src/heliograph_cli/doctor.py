"""`heliograph doctor`: runs the doctors of indexer and configurator as processes, and asks the router."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from heliograph_cli.credentials import ClientTls
from heliograph_cli.errors import NotUnderstood, Unreachable
from heliograph_cli.router import open_router
from heliograph_shared.findings import (
    Finding,
    InvalidReport,
    Report,
    Unchecked,
    as_text,
    decode,
    encode,
    merged,
)
from heliograph_shared.rpc import resolver_pb2 as pb

_TIMEOUT_S, _PROBE_TIMEOUT_S = 120.0, 360.0
_NOT_UNDERSTOOD = 2
_PORT_FORWARD = "kubectl -n heliograph port-forward service/heliograph-router 5001"


class CommandCheck(StrEnum):
    """Checks that no service makes; `docs/doctor.md` has a section for each."""

    ROUTER = "router-unreachable"
    READY = "router-not-ready"
    LISTED = "node-not-listed"
    ADDRESSED = "node-without-address"
    SHARED = "address-shared"
    NAME = "name-shared"
    INCOMPLETE = "doctor-incomplete"


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """`environment` is added to this process's own for the doctors; `router` None: no router is checked."""

    node: str
    router: str | None
    ask_bus: bool
    probe: str
    environment: Mapping[str, str]
    tls: ClientTls = field(default_factory=ClientTls)


async def doctor(options: DoctorOptions, *, as_json: bool) -> bool:
    """Print what is wrong with this machine. True if there is no error.

    Raises `NotUnderstood`, and `StartupError` when files for TLS cannot be used.
    """
    if options.router is not None:
        options.tls.credentials()  # fail before any process is started
    probing = [f"--probe={options.probe}"] if options.probe else []
    parts = [
        _part(options, "indexer", [*probing, *([] if options.ask_bus else ["--no-ask-bus"])]),
        _part(options, "configurator", []),
        examine_router(options.router, options.node, options.tls),
    ]
    report = merged(await asyncio.gather(*parts), _now_ms())
    sys.stdout.write(encode(report).decode() if as_json else as_text(report))
    return report.healthy


async def _part(options: DoctorOptions, service: str, arguments: Sequence[str]) -> Report:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"heliograph_{service}", "doctor", "--json", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **options.environment},
    )
    timeout_s = _PROBE_TIMEOUT_S if options.probe else _TIMEOUT_S
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        return _incomplete(service, f"no answer within {timeout_s:.0f} s")
    finally:
        if process.returncode is None:
            process.terminate()  # it removes the image of the probe first
            await process.wait()
    if process.returncode == _NOT_UNDERSTOOD:
        raise NotUnderstood(err.decode(errors="replace").strip())
    try:
        return decode(out)
    except InvalidReport:
        last = err.decode(errors="replace").strip().rpartition("\n")[2]
        return _incomplete(service, f"exit code {process.returncode}: {last}")


async def examine_router(target: str | None, node: str, tls: ClientTls | None = None) -> Report:
    """Check the router at `target` and its view of `node`; without a target report that as unchecked."""
    if target is None:
        return Report.of(_now_ms(), (), [Unchecked(CommandCheck.ROUTER, "no router is given")])
    try:
        async with open_router(target, tls) as router:
            ready, nodes = await router.serving(), await router.nodes()
    except Unreachable as error:
        return Report.of(_now_ms(), [_unreachable(target, error.reason)], ())
    return Report.of(_now_ms(), _examine_nodes(node, nodes) if ready else [_not_ready(target)], ())


def _examine_nodes(name: str, nodes: Sequence[pb.Node]) -> Iterator[Finding]:
    """Check the router's list of nodes for problems with the node `name`."""
    own = next((node for node in nodes if node.node == name), None)
    if own is None:
        yield Finding(
            CommandCheck.LISTED,
            "error",
            f"the router does not know the node {name}, so no peer fetches from it",
            f"it lists {len(nodes)} nodes without {name}",
            "start the node's indexer on the bus of the router (HELIOGRAPH_NATS_URL), and read both logs: "
            "a clock 5 minutes ahead is refused; set HELIOGRAPH_NODE_NAME to check another node",
        )
        return
    if not own.addresses:
        yield Finding(
            CommandCheck.ADDRESSED,
            "error",
            f"the router knows no address of the node {name}, so no peer fetches from it",
            f"it lists {name} with {own.digests} blobs and no address",
            "find out why the node's registry is not ready: curl http://NODE:9090/readyz",
        )
    for other in nodes:
        if other.HasField("namesake"):
            yield _shared_name(other)
        if other.node != name and (same := set(other.addresses) & set(own.addresses)):
            yield Finding(
                CommandCheck.SHARED,
                "error",
                f"another node has the same address as {name}, so one gets the other's requests",
                f"{other.node} and {name} both announce {', '.join(sorted(same))}",
                "set HELIOGRAPH_ADVERTISE on each node to its own host:port",
            )


def _shared_name(node: pb.Node) -> Finding:
    used, ignored = (", ".join(one.addresses) or "an unknown address" for one in (node, node.namesake))
    return Finding(
        CommandCheck.NAME,
        "error",
        "two indexers have the same node name, so other nodes find the content of only one of them",
        f"{node.node}: the router uses the one with its registry at {used}, and ignores the one at {ignored}",
        "set HELIOGRAPH_NODE_NAME of each indexer to a name of its own, and run one indexer for each node",
    )


def _unreachable(target: str, reason: str) -> Finding:
    return Finding(
        CommandCheck.ROUTER,
        "error",
        "the router does not answer, so registries that use it find no peers",
        f"{target}: {reason}",
        f"start it, or name another with --router; from outside the cluster: {_PORT_FORWARD}",
    )


def _not_ready(target: str) -> Finding:
    return Finding(
        CommandCheck.READY,
        "warning",
        "the router is still rebuilding its index, so registries that use it go upstream for now",
        f"{target}: its health is NOT_SERVING",
        "wait a minute; if it is still not ready, read its log: it needs the bus",
    )


def _incomplete(service: str, reason: str) -> Report:
    finding = Finding(
        CommandCheck.INCOMPLETE,
        "error",
        f"the doctor of the {service} did not finish",
        reason,
        f"heliograph-{service} doctor",
    )
    return Report.of(_now_ms(), [finding], ())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
