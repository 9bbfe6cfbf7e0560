"""Pulls one image with containerd as the kubelet does, then removes whatever the pull added.

An image name that existed before stays: it points at what was pulled, as after any pull.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from heliograph_indexer.domain.checks import IndexerCheck
from heliograph_indexer.domain.environment_checks import containerd_unreachable
from heliograph_indexer.errors import CallRefused, StoreUnavailable
from heliograph_indexer.ports import ImagePuller, RequestCounter
from heliograph_shared.findings import Finding, Unchecked
from heliograph_shared.reference import Reference

_PULL_TIMEOUT_S = 300.0
_COUNTED_WITHIN_S, _POLL_S = 3.0, 0.1

OpenPuller = Callable[[], AbstractAsyncContextManager[ImagePuller]]


async def probe_pull(
    open_puller: OpenPuller, registry: RequestCounter, reference: Reference, *, mirrored: bool
) -> Sequence[Finding | Unchecked]:
    """Pull `reference` within 5 minutes and check that the registry was asked.

    `mirrored` is whether the settings let this node mirror the image; if not, the registry is not checked.
    """
    try:
        async with open_puller() as puller:
            return await _probe(puller, registry, reference, mirrored=mirrored)
    except StoreUnavailable as error:
        return [containerd_unreachable(error.store, error.reason)]


async def _probe(
    puller: ImagePuller, registry: RequestCounter, reference: Reference, *, mirrored: bool
) -> list[Finding | Unchecked]:
    names_before = {image.name for image in await puller.images()}
    requests_before = await registry.requests()
    try:
        await puller.pull(str(reference), _PULL_TIMEOUT_S)
    except CallRefused as error:
        return [_pull_failed(reference, error)]
    finally:
        await asyncio.shield(asyncio.ensure_future(_clean_up(puller, reference, names_before)))
    if not mirrored:
        return [Unchecked(IndexerCheck.MIRROR_ASKED, f"the settings do not mirror {reference}")]
    if requests_before is None:
        return [Unchecked(IndexerCheck.MIRROR_ASKED, "the registry's metrics cannot be read")]
    if await _counts_beyond(registry, requests_before):
        return []
    return [_mirror_not_asked(reference, requests_before)]


async def _clean_up(puller: ImagePuller, reference: Reference, names_before: set[str]) -> None:
    """Delete the new name that was pulled, and the other new names that the CRI gave the same image."""
    new = [image for image in await puller.images() if image.name not in names_before]
    by_digest = f"{reference.registry}/{reference.repository}@{reference.digest}"
    targets = {image.target for image in new if image.name in {reference.tag_reference, by_digest}}
    if names := [image.name for image in new if image.target in targets]:
        await puller.delete(names)


async def _counts_beyond(registry: RequestCounter, before: float) -> bool:
    """Poll for a while: the registry counts a request only after sending its answer."""
    for _ in range(round(_COUNTED_WITHIN_S / _POLL_S)):
        now = await registry.requests()
        if now is not None and now != before:
            return True
        await asyncio.sleep(_POLL_S)
    return False


def _pull_failed(reference: Reference, error: CallRefused) -> Finding:
    return Finding(
        IndexerCheck.PULL,
        "error",
        f"containerd cannot pull {reference}",
        f"{error.code}: {error.reason}",
        "read the reason: if it names the mirror, see the other findings; if it names the upstream registry, "
        "a pull without the mirror fails too (the test pull has no credentials)",
    )


def _mirror_not_asked(reference: Reference, requests: float) -> Finding:
    return Finding(
        IndexerCheck.MIRROR_ASKED,
        "error",
        "containerd pulled an image without asking this node's registry",
        f"{reference} was pulled, and the registry still counts {requests:.0f} requests, as before",
        "set config_path in containerd's config.toml to the directory that `heliograph-configurator apply` "
        "writes to, restart containerd, and run `heliograph-configurator doctor`",
    )
