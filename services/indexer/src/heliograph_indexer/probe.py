"""A pull by containerd itself, as the kubelet's, that leaves nothing behind which was not there before."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from heliograph_indexer.domain.checks import Check
from heliograph_indexer.domain.completeness import Image
from heliograph_indexer.errors import CallRefused
from heliograph_shared.findings import Finding, Unchecked
from heliograph_shared.reference import Reference

_PULL_TIMEOUT_S = 300.0
_COUNTED_WITHIN_S, _LOOK_S = 3.0, 0.1


class Puller(Protocol):
    """containerd. Calls may raise `StoreUnavailable`."""

    async def images(self) -> Sequence[Image]: ...
    async def pull(self, image: str, timeout_s: float) -> None:
        """Raises `CallRefused`."""
        ...

    async def forget(self, names: list[str]) -> None:
        """Delete names, and what is garbage without them."""
        ...


class Counting(Protocol):
    async def requests(self) -> float | None:
        """How many this node's registry has answered; None where that is not told."""
        ...


async def probe(
    puller: Puller, registry: Counting, reference: Reference, *, mirrored: bool
) -> list[Finding | Unchecked]:
    """Pull `reference` within 5 minutes, and see that the registry was asked, where the image is `mirrored`.

    A tag that was here keeps pointing at what was pulled, as after any pull.
    """
    before = {image.name for image in await puller.images()}
    asked = await registry.requests()
    try:
        await puller.pull(str(reference), _PULL_TIMEOUT_S)
    except CallRefused as error:
        return [_failed(reference, error)]
    finally:
        await asyncio.shield(asyncio.ensure_future(_tidy(puller, reference, before)))
    if not mirrored:
        return [Unchecked(Check.MIRROR_ASKED, f"the settings leave {reference} out")]
    if asked is None:
        return [Unchecked(Check.MIRROR_ASKED, "the registry's metrics are not to be had")]
    if await _counted_beyond(registry, asked):
        return []
    return [_passed_by(reference, asked)]


async def _tidy(puller: Puller, reference: Reference, before: set[str]) -> None:
    """Take out what is new: the name that was pulled, and the others that the CRI gave the same image."""
    new = [image for image in await puller.images() if image.name not in before]
    by_digest = f"{reference.registry}/{reference.repository}@{reference.digest}"
    named = {image.target for image in new if image.name in {reference.tag_reference, by_digest}}
    if names := [image.name for image in new if image.target in named]:
        await puller.forget(names)


async def _counted_beyond(registry: Counting, asked: float) -> bool:
    """A request is counted when its answer has been sent."""
    for _ in range(round(_COUNTED_WITHIN_S / _LOOK_S)):
        now = await registry.requests()
        if now is not None and now != asked:
            return True
        await asyncio.sleep(_LOOK_S)
    return False


def _failed(reference: Reference, error: CallRefused) -> Finding:
    return Finding(
        Check.PULL,
        "error",
        f"containerd cannot pull {reference}",
        f"{error.code}: {error.reason}",
        "read the reason: where it names the mirror, see the other findings; where it names the registry "
        "itself, so would a pull without a mirror (the probe has no credentials)",
    )


def _passed_by(reference: Reference, asked: float) -> Finding:
    return Finding(
        Check.MIRROR_ASKED,
        "error",
        "containerd pulled without asking this node's registry",
        f"{reference} was pulled, and the registry has answered {asked:.0f} requests, as before",
        "set config_path in containerd's config.toml to the folder that `heliograph-configurator apply` "
        "writes to, restart containerd, and see `heliograph-configurator doctor`",
    )
