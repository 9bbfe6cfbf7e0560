"""Looks at everything that keeps a node from mirroring, once, in bounded time.

What cannot be looked at is told as unchecked, with the reason: not seen is not the same as healthy. The parts
are looked at side by side, and one that fails or hangs keeps no other from being told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from heliograph_indexer.domain import completeness, runtime_settings, surroundings
from heliograph_indexer.domain.checks import Check
from heliograph_indexer.domain.completeness import Image, Labels
from heliograph_indexer.domain.runtime_settings import RuntimeSettings, Version
from heliograph_indexer.domain.surroundings import BusAnswer, FolderAnswer
from heliograph_indexer.errors import CallRefused, ConfigUnreadable, StoreUnavailable
from heliograph_indexer.ports import Route
from heliograph_shared.address import Address
from heliograph_shared.findings import Finding, Report, Unchecked

log = structlog.get_logger()

_PART_TIMEOUT_S = 60.0
_SAMPLE, _READ_MOST = 20, 20
_REGISTRY_PORT = 5000
_CRI_NAMESPACE = "k8s.io"


class Runtime(Protocol):
    """containerd. Every call may raise `StoreUnavailable`."""

    async def version(self) -> Version: ...
    async def told_settings(self) -> RuntimeSettings | None:
        """None where this version does not tell them. Raises `CallRefused`."""
        ...

    async def sharing_policy(self) -> str: ...
    async def content_root(self) -> Path: ...
    async def images(self) -> Sequence[Image]: ...
    async def blobs(self) -> Mapping[str, Labels]: ...
    async def layers(self, manifest: str) -> tuple[str, ...]: ...


class Bus(Protocol):
    @property
    def shown(self) -> Sequence[str]: ...
    async def ask(self) -> BusAnswer: ...


class Registry(Protocol):
    """This node's. Reasons are empty when all is well."""

    @property
    def ready_url(self) -> str: ...
    async def unready_reason(self) -> str: ...
    async def unreachable_reason(self, address: str) -> str: ...


OpenRuntime = Callable[[], AbstractAsyncContextManager[Runtime]]
ReadConfig = Callable[[Version], RuntimeSettings]
LookInto = Callable[[Path, Sequence[str]], Awaitable[FolderAnswer]]
Now = Callable[[], datetime]


@dataclass(slots=True)
class _Notes:
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)
    latest_tag: tuple[str, datetime] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What is looked at, and what is expected of it.

    `runtime` is None for a store without containerd, `bus` where it is not to be asked. `config_path` is
    where hosts.toml files are written, as the host names it; `content_path` None where containerd says so.
    """

    runtime: OpenRuntime | None
    namespace: str
    config_path: str
    read_config: ReadConfig
    content_path: Path | None
    look_into: LookInto
    bus: Bus | None
    route: Route
    advertise: Sequence[str]
    registry: Registry
    now: Now = field(default=lambda: datetime.now(UTC))

    async def report(self) -> Report:
        notes = _Notes()
        await asyncio.gather(
            self._bounded(self._look_at_store(notes), notes, Check.CONTAINERD),
            self._bounded(self._look_around(notes), notes, Check.BUS),
            self._bounded(self._look_at_readiness(notes), notes, Check.REGISTRY_READY),
        )
        notes.findings += surroundings.examine_latest_tag(self.now(), notes.latest_tag)
        return Report.of(int(self.now().timestamp() * 1000), notes.findings, notes.unchecked)

    async def _bounded(self, part: Awaitable[None], notes: _Notes, check: Check) -> None:
        try:
            async with asyncio.timeout(_PART_TIMEOUT_S):
                await part
        except TimeoutError:
            notes.unchecked.append(Unchecked(check, f"not done within {_PART_TIMEOUT_S:.0f} s"))

    async def _look_at_store(self, notes: _Notes) -> None:
        if self.runtime is None:
            assert self.content_path is not None
            notes.findings += surroundings.examine_folder(await self.look_into(self.content_path, ()))
            return
        try:
            async with self.runtime() as runtime:
                await self._look_at_runtime(runtime, notes)
        except StoreUnavailable as error:
            notes.findings.append(surroundings.containerd_unreachable(error.store, error.reason))

    async def _look_at_runtime(self, runtime: Runtime, notes: _Notes) -> None:
        version = await runtime.version()
        settings = await self._settings(runtime, version, notes)
        if settings is not None:
            notes.findings += runtime_settings.examine(settings, version, self.config_path)
        notes.findings += runtime_settings.examine_sharing(await runtime.sharing_policy())
        images, blobs = await runtime.images(), await runtime.blobs()
        root = self.content_path or await runtime.content_root()
        sample = sorted(blobs)[:_SAMPLE]
        folder = await self.look_into(root, sample)
        notes.findings += surroundings.examine_folder(folder, is_made_later=not sample)
        await self._look_at_images(runtime, images, blobs, notes, version, settings)
        if images:
            latest = max(images, key=lambda image: image.updated_at_ms)
            tagged_at = datetime.fromtimestamp(latest.updated_at_ms / 1000, UTC)
            notes.latest_tag = latest.name, tagged_at

    async def _settings(self, runtime: Runtime, version: Version, notes: _Notes) -> RuntimeSettings | None:
        try:
            if told := await runtime.told_settings():
                return told
        except CallRefused as error:
            if error.code == "UNIMPLEMENTED" and self.namespace == _CRI_NAMESPACE:
                notes.findings.append(runtime_settings.cri_unavailable(error.reason))
                return None
            notes.unchecked.append(Unchecked(Check.CONFIG_PATH, str(error)))
            return None
        try:
            return await asyncio.to_thread(self.read_config, version)
        except ConfigUnreadable as error:
            reason = f"containerd {version.text} does not tell its settings, and {error}; --probe shows it"
            notes.unchecked.append(Unchecked(Check.CONFIG_PATH, reason))
            return None

    async def _look_at_images(
        self,
        runtime: Runtime,
        images: Sequence[Image],
        blobs: Mapping[str, Labels],
        notes: _Notes,
        version: Version,
        settings: RuntimeSettings | None,
    ) -> None:
        found = completeness.manifests(images, blobs)
        unread = [one for one in found if not one.refers][:_READ_MOST]
        layers = {one.digest: await runtime.layers(one.digest) for one in unread}
        read = [replace(one, layers=one.layers or layers.get(one.digest, ())) for one in found]
        own = completeness.of_this_platform([one for one in read if one.layers], blobs)
        discards = settings is not None and settings.discards_layers
        if settings is None and own and not own[0].refers:
            seen = f"{own[0].image}, pulled last: its manifest keeps none of its {len(own[0].layers)} layers"
            notes.findings.append(runtime_settings.discarding(seen, version))
            discards = True
        lacking = completeness.lacking([one for one in own if one.refers or not discards], blobs)
        notes.findings += completeness.examine(lacking, self.namespace)

    async def _look_around(self, notes: _Notes) -> None:
        answer = None
        if self.bus is None:
            notes.unchecked.append(Unchecked(Check.BUS, "not to be asked"))
        else:
            answer = await self.bus.ask()
            notes.findings += surroundings.examine_bus(self.bus.shown, answer)
        notes.findings += surroundings.examine_clock(self.now(), answer.ahead_s if answer else None)
        await self._look_at_addresses(answer, notes)

    async def _look_at_addresses(self, answer: BusAnswer | None, notes: _Notes) -> None:
        addresses = list(self.advertise)
        if not addresses and answer is not None and (host := await self.route.own_host()):
            addresses = [str(Address(host, _REGISTRY_PORT))]
        if not addresses:
            reason = "HELIOGRAPH_ADVERTISE is not set, and without a way to the bus this node has no address"
            notes.unchecked.append(Unchecked(Check.ADDRESS, reason))
        for address in addresses:
            host = Address.parse(address).host
            bus_is_local = answer is None or answer.local
            if odd := list(surroundings.examine_address(host, bus_is_local=bus_is_local)):
                notes.findings += odd
            elif reason := await self.registry.unreachable_reason(address):
                notes.findings.append(surroundings.registry_unreachable(address, reason))

    async def _look_at_readiness(self, notes: _Notes) -> None:
        if not self.registry.ready_url:
            notes.unchecked.append(
                Unchecked(Check.REGISTRY_READY, "HELIOGRAPH_REGISTRY_READY_URL is not set")
            )
        elif reason := await self.registry.unready_reason():
            notes.findings.append(surroundings.registry_not_ready(self.registry.ready_url, reason))
