"""Checks that the cluster holds all of an image that this node needs.

containerd takes the digest that the mirror gives for a tag, and its pull fails if nobody has the rest.
Podman, Buildah, Skopeo and CRI-O take the whole image from the mirror that answers their first request. So
tags, and first requests of these, are answered only if all that follows can be served; else upstream decides.
"""

import asyncio
from collections.abc import Sequence

import structlog
from cachetools import LRUCache

from heliograph_registry.mirror.domain.manifest import Manifest, verified_platform
from heliograph_registry.mirror.domain.peer import Outcome, Resolution
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, Name
from heliograph_registry.mirror.errors import NotServed
from heliograph_registry.mirror.local_content import LocalContent
from heliograph_registry.mirror.lookahead import Lookahead
from heliograph_registry.mirror.manifests import Manifests
from heliograph_registry.mirror.peering import Peering
from heliograph_shared.digest import Digest
from heliograph_shared.image import MAX_CONFIG_BYTES, NotAManifest
from heliograph_shared.platforms import Matcher

log = structlog.get_logger()

_MOST_INDEXES = 4  # one within the other
_MOST_CONFIGS = 4096
_ASKED_AT_ONCE = 8


class Completeness:
    def __init__(
        self,
        node: Matcher,
        content: LocalContent,
        peering: Peering,
        lookahead: Lookahead,
        manifests: Manifests,
    ) -> None:
        """`node` says which platforms this node runs."""
        self._node, self._content, self._peering = node, content, peering
        self._lookahead, self._manifests = lookahead, manifests
        self._platforms: LRUCache[Digest, str] = LRUCache(_MOST_CONFIGS)

    async def require(self, root: Manifest, name: Name, *, any_platform: bool = False) -> list[Digest]:
        """Return the digests of the manifests below `root` that this node needs, if the cluster holds it all.

        `any_platform`: an image that is not within an index may be for another platform than this node's.
        Raises `NotServed`.
        """
        image, below = root, list[Digest]()
        checked = any_platform
        while image.index is not None:
            entry = self._node.best(image.index) if len(below) < _MOST_INDEXES else None
            if entry is None:
                raise NotServed(Reason.OTHER_PLATFORM)
            self._lookahead.skip(image)  # its other manifests are not needed here
            below.append(entry.digest)
            image = await self._child(ManifestByDigest(name, entry.digest), root)
            checked = bool(entry.platform)
        resolutions = await self._require_content(image, root)
        if image.image_config is not None and not checked:
            config = Blob(name, image.image_config)
            if not self._node.matches(await self._platform_of(config, resolutions.get(config.digest))):
                raise NotServed(Reason.OTHER_PLATFORM)
        return below

    async def _child(self, target: ManifestByDigest, root: Manifest) -> Manifest:
        try:
            child, _ = await self._manifests.get(target)
        except NotServed as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            raise _incomplete(root, target.digest) from error
        return child

    async def _require_content(self, image: Manifest, root: Manifest) -> dict[Digest, Resolution]:
        """Where config and layers are that this node lacks."""
        if not image.lists_its_content:
            raise _incomplete(root, image.digest)
        lacking = [digest for digest in image.children if self._content.lacks(digest)]
        if not lacking:
            return {}
        found = await self._lookahead.resolutions(lacking)
        if unknown := [digest for digest in lacking if found[digest].outcome is Outcome.NOT_SYNCED]:
            found |= await self._each_resolved(unknown)
        for digest in lacking:
            if not self._peering.order(found[digest]):
                if found[digest].outcome is Outcome.NOT_SYNCED:
                    raise NotServed(Reason.RESOLVER_UNAVAILABLE)
                raise _incomplete(root, digest)
        return found

    async def _each_resolved(self, digests: Sequence[Digest]) -> dict[Digest, Resolution]:
        """Without a router, peers can be asked for one digest at a time."""
        slots = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def resolved(digest: Digest) -> Resolution:
            async with slots:
                try:
                    (resolution,) = await self._peering.resolve([digest])
                except NotServed:
                    return Resolution(Outcome.NOT_SYNCED)
                return resolution

        return dict(zip(digests, await asyncio.gather(*map(resolved, digests)), strict=True))

    async def _platform_of(self, config: Blob, resolution: Resolution | None) -> str:
        """What the config states; each is read and hashed once."""
        stated = self._platforms.get(config.digest)
        if stated is None:
            stated = await self._own_platform(config.digest)
        if stated is None:
            if resolution is None:  # this node's copy is broken
                resolution = (await self._lookahead.resolutions([config.digest]))[config.digest]
            stated, _ = await self._peering.platform(config, resolution)
        self._platforms[config.digest] = stated
        return stated

    async def _own_platform(self, digest: Digest) -> str | None:
        blob = await self._content.open(digest)
        if blob is None:
            return None
        try:
            if blob.size_bytes > MAX_CONFIG_BYTES:
                raise NotAManifest("larger than 4 MiB")
            return verified_platform(digest, await blob.read(0, blob.size_bytes))
        except OSError as error:
            self._content.unreadable(digest, str(error), error.errno or 0)
            return None
        except NotAManifest as error:
            log.warning("local config is not used", digest=digest, reason=str(error))
            return None
        finally:
            blob.close()


def _incomplete(root: Manifest, missing: Digest) -> NotServed:
    log.info("image is not complete in the cluster", digest=root.digest, missing=missing)
    return NotServed(Reason.INCOMPLETE)
