"""Examines, once and in bounded time, everything that can keep this node from mirroring.

A check that cannot be made is reported as unchecked, with the reason: unchecked is not the same as healthy.
The store, the bus and the registry are examined side by side; if one fails or hangs, the others are still
reported.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from heliograph_indexer.domain import environment_checks, missing_layers, namesakes, proxies, runtime_settings
from heliograph_indexer.domain.checks import IndexerCheck
from heliograph_indexer.domain.environment_checks import BusStatus
from heliograph_indexer.domain.missing_layers import ImageRecord, Labels
from heliograph_indexer.domain.runtime_settings import ContainerdVersion, RuntimeSettings
from heliograph_indexer.errors import (
    CallRefused,
    ConfigUnreadable,
    EnvironmentUnreadable,
    StoreUnavailable,
)
from heliograph_indexer.ports import (
    BusProbe,
    ContentDirectory,
    NodeAddress,
    ReadProxies,
    RegistryInspection,
    RunningIndexer,
    RuntimeInspection,
    SettingsFile,
)
from heliograph_shared.address import Address
from heliograph_shared.findings import Finding, Report, Unchecked

_STEP_TIMEOUT_S = 60.0
_SAMPLED_BLOBS, _MAX_READ_MANIFESTS = 20, 20
_REGISTRY_PORT = 5000
_CRI_NAMESPACE = "k8s.io"

OpenRuntime = Callable[[], AbstractAsyncContextManager[RuntimeInspection]]
Now = Callable[[], datetime]


@dataclass(slots=True)
class _Results:
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)
    latest_tag: tuple[str, datetime] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeExamination:
    """What to examine, and what to expect of it.

    `open_runtime` is None for a store without containerd, `bus` is None if the bus must not be asked.
    `config_path` is where hosts.toml files are written, as the host names it. `content_path` is None to ask
    containerd for it. `proxies` is None for a store without containerd. `indexer` is None in the `doctor`
    command, which runs in a process of its own.
    """

    open_runtime: OpenRuntime | None
    namespace: str
    config_path: str
    settings_file: SettingsFile
    content_path: Path | None
    content_directory: ContentDirectory
    bus: BusProbe | None
    node_address: NodeAddress
    advertise: Sequence[str]
    registry: RegistryInspection
    proxies: ReadProxies | None
    node_name: str
    indexer: RunningIndexer | None
    now: Now = field(default=lambda: datetime.now(UTC))

    async def report(self) -> Report:
        results = _Results()
        await asyncio.gather(
            self._bounded(self._examine_store(results), results, IndexerCheck.CONTAINERD),
            self._bounded(self._examine_network(results), results, IndexerCheck.BUS),
            self._bounded(self._examine_readiness(results), results, IndexerCheck.REGISTRY_READY),
        )
        self._examine_name(results)
        results.findings += environment_checks.examine_latest_tag(self.now(), results.latest_tag)
        return Report.of(int(self.now().timestamp() * 1000), results.findings, results.unchecked)

    async def _bounded(self, step: Awaitable[None], results: _Results, check: IndexerCheck) -> None:
        try:
            async with asyncio.timeout(_STEP_TIMEOUT_S):
                await step
        except TimeoutError:
            results.unchecked.append(Unchecked(check, f"not done within {_STEP_TIMEOUT_S:.0f} s"))

    async def _examine_store(self, results: _Results) -> None:
        if self.open_runtime is None:
            assert self.content_path is not None
            status = await self.content_directory(self.content_path, ())
            results.findings += environment_checks.examine_content_directory(status)
            return
        try:
            async with self.open_runtime() as runtime:
                await self._examine_runtime(runtime, results)
        except StoreUnavailable as error:
            results.findings.append(environment_checks.containerd_unreachable(error.store, error.reason))

    async def _examine_runtime(self, runtime: RuntimeInspection, results: _Results) -> None:
        version = await runtime.version()
        settings = await self._settings(runtime, version, results)
        if settings is not None:
            results.findings += runtime_settings.examine_settings(settings, version, self.config_path)
        results.findings += runtime_settings.examine_sharing(await runtime.sharing_policy())
        images, blobs = await runtime.images(), await runtime.blobs()
        root = self.content_path or await runtime.content_root()
        sample = sorted(blobs)[:_SAMPLED_BLOBS]
        status = await self.content_directory(root, sample)
        results.findings += environment_checks.examine_content_directory(status, may_be_absent=not sample)
        await self._examine_images(runtime, images, blobs, results, version, settings)
        if images:
            latest = max(images, key=lambda image: image.updated_at_ms)
            tagged_at = datetime.fromtimestamp(latest.updated_at_ms / 1000, UTC)
            results.latest_tag = latest.name, tagged_at

    async def _settings(
        self, runtime: RuntimeInspection, version: ContainerdVersion, results: _Results
    ) -> RuntimeSettings | None:
        try:
            if reported := await runtime.reported_settings():
                return reported
        except CallRefused as error:
            if error.code == "UNIMPLEMENTED" and self.namespace == _CRI_NAMESPACE:
                results.findings.append(runtime_settings.cri_unavailable(error.reason))
                return None
            results.unchecked.append(Unchecked(IndexerCheck.CONFIG_PATH, str(error)))
            return None
        try:
            return await asyncio.to_thread(self.settings_file, version)
        except ConfigUnreadable as error:
            reason = (
                f"containerd {version.text} does not report its settings, and its config file cannot be read "
                f"({error}); a test pull with --probe shows whether the mirror is used"
            )
            results.unchecked.append(Unchecked(IndexerCheck.CONFIG_PATH, reason))
            return None

    async def _examine_images(
        self,
        runtime: RuntimeInspection,
        images: Sequence[ImageRecord],
        blobs: Mapping[str, Labels],
        results: _Results,
        version: ContainerdVersion,
        settings: RuntimeSettings | None,
    ) -> None:
        held = missing_layers.held_manifests(images, blobs)
        unlabelled = [one for one in held if not one.has_layer_labels][:_MAX_READ_MANIFESTS]
        layers = {one.digest: await runtime.layers(one.digest) for one in unlabelled}
        known = [replace(one, layers=one.layers or layers.get(one.digest, ())) for one in held]
        own = missing_layers.of_this_platform([one for one in known if one.layers], blobs)
        discards = settings is not None and settings.discards_layers
        if settings is None and own and not own[0].has_layer_labels:
            seen = f"{own[0].image}, pulled last: none of its {len(own[0].layers)} layers has a label"
            results.findings.append(runtime_settings.discarded_layers(seen, version))
            discards = True
        expected = [one for one in own if one.has_layer_labels or not discards]
        incomplete = missing_layers.incomplete_manifests(expected, blobs)
        results.findings += missing_layers.examine_layers(incomplete, self.namespace)

    async def _examine_network(self, results: _Results) -> None:
        status = None
        if self.bus is None:
            results.unchecked.append(Unchecked(IndexerCheck.BUS, "turned off (--no-ask-bus)"))
        else:
            status = await self.bus.ask()
            results.findings += environment_checks.examine_bus(self.bus.shown, status)
        results.findings += environment_checks.examine_clock(self.now(), status.ahead_s if status else None)
        await self._examine_addresses(status, results)

    async def _examine_addresses(self, bus: BusStatus | None, results: _Results) -> None:
        addresses = list(self.advertise)
        if not addresses and bus is not None and (host := await self.node_address.own_host()):
            addresses = [str(Address(host, _REGISTRY_PORT))]
        if not addresses:
            reason = "HELIOGRAPH_ADVERTISE is not set, and without a route to the bus the address is unknown"
            results.unchecked.append(Unchecked(IndexerCheck.ADDRESS, reason))
        await self._examine_proxies(addresses, results)
        for address in addresses:
            host = Address.parse(address).host
            bus_is_local = bus is None or bus.local
            if unusable := list(environment_checks.examine_address(host, bus_is_local=bus_is_local)):
                results.findings += unusable
            elif reason := await self.registry.unreachable_reason(address):
                results.findings.append(environment_checks.registry_unreachable(address, reason))

    async def _examine_proxies(self, addresses: Sequence[str], results: _Results) -> None:
        if self.proxies is None:
            return
        try:
            results.findings += proxies.examine_proxies(await self.proxies(), addresses)
        except EnvironmentUnreadable as error:
            results.unchecked.append(Unchecked(IndexerCheck.PROXY, error.reason))

    def _examine_name(self, results: _Results) -> None:
        if self.indexer is None:
            reason = "only the running indexer knows; its findings are at /debug/findings of its admin port"
            results.unchecked.append(Unchecked(IndexerCheck.NODE_NAME, reason))
            return
        own, other = self.indexer.incarnation, self.indexer.namesake()
        results.findings += namesakes.examine_name(self.node_name, own, other)

    async def _examine_readiness(self, results: _Results) -> None:
        url = self.registry.ready_url
        if not url:
            reason = "HELIOGRAPH_REGISTRY_READY_URL is not set"
            results.unchecked.append(Unchecked(IndexerCheck.REGISTRY_READY, reason))
        elif reason := await self.registry.unready_reason():
            results.findings.append(environment_checks.registry_not_ready(url, reason))
