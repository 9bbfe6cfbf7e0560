"""The settings of containerd that decide whether a node can use the mirror and serve others. Pure.

containerd 1.6 and 1.7 report them in the CRI's verbose status. 2.x does not report those of its image
service; they are in its config.toml (version 3, or version 2 with the sections of 1.x).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from heliograph_indexer.domain.checks import IndexerCheck
from heliograph_shared.findings import Finding

_CRI_1 = "io.containerd.grpc.v1.cri"
_IMAGES_2 = "io.containerd.cri.v1.images"
_DEFAULT_SINCE_2_2 = "/etc/containerd/certs.d:/etc/docker/certs.d"


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """`source` says where they were read; `config_path` is empty if it is not set.

    With `pulls_locally` containerd 2.1 and newer pull without the transfer service, as older ones always do.
    """

    source: str
    config_path: str
    discards_layers: bool
    pulls_locally: bool = False


@dataclass(frozen=True, slots=True)
class ContainerdVersion:
    """`text` in full, such as `1.7.24~ds1`."""

    text: str

    @property
    def numbers(self) -> tuple[int, int]:
        """Major and minor; (0, 0) if they cannot be parsed."""
        major, _, rest = self.text.removeprefix("v").partition(".")
        minor = rest.partition(".")[0]
        return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)

    @property
    def images_section(self) -> str:
        return f"plugins.'{_IMAGES_2}'" if self.numbers >= (2, 0) else f'plugins."{_CRI_1}"'

    @property
    def default_config_path(self) -> str:
        return _DEFAULT_SINCE_2_2 if self.numbers >= (2, 2) else ""


def from_status(config: str) -> RuntimeSettings | None:
    """From `config` in the CRI's verbose status; None if they are not in it, as with 2.x."""
    try:
        document = json.loads(config)
    except ValueError:
        return None
    registry, runtime = _table(document, "registry"), _table(document, "containerd")
    if "configPath" not in registry:
        return None
    discards = runtime.get("discardUnpackedLayers") is True
    return RuntimeSettings("the CRI's status", str(registry["configPath"]), discards)


def from_toml(document: Mapping[str, Any], source: str, version: ContainerdVersion) -> RuntimeSettings:
    """From a config.toml with its imports merged in; a missing setting has containerd's default."""
    old = _table(document, "plugins", _CRI_1)
    new = _table(document, "plugins", _IMAGES_2)
    registry = {**_table(old, "registry"), **_table(new, "registry")}
    runtime = {**_table(old, "containerd"), **new}
    path = registry.get("config_path", version.default_config_path)
    return RuntimeSettings(
        source,
        str(path),
        runtime.get("discard_unpacked_layers") is True,
        pulls_locally=_pulls_locally(new),
    )


def examine_settings(
    settings: RuntimeSettings, version: ContainerdVersion, config_path: str
) -> Iterator[Finding]:
    """`config_path` is where hosts.toml files are written, as paths of the host: to the first of several."""
    yield from _examine_config_path(settings, version, config_path)
    if settings.discards_layers:
        seen = f"{settings.source} of containerd {version.text}: discard_unpacked_layers is true"
        yield discarded_layers(seen, version)


def discarded_layers(seen: str, version: ContainerdVersion) -> Finding:
    section = version.images_section + (".containerd" if version.numbers < (2, 0) else "")
    return Finding(
        IndexerCheck.DISCARD,
        "error",
        "containerd discards layers after unpacking them, so this node cannot serve them to others",
        seen,
        f"in containerd's config.toml, under [{section}], set discard_unpacked_layers = false; then restart "
        "containerd and pull the images again",
    )


def examine_sharing(policy: str) -> Iterator[Finding]:
    """`policy` is the metadata plugin's content sharing policy; empty if it is not reported."""
    if policy != "isolated":
        return
    yield Finding(
        IndexerCheck.SHARING,
        "warning",
        "containerd isolates the content of its namespaces, but the registry serves every blob of the store "
        "by its digest; and content of another namespace is fetched again",
        "plugin io.containerd.metadata.v1.bolt exports policy isolated",
        'in containerd\'s config.toml, under [plugins."io.containerd.metadata.v1.bolt"], set '
        'content_sharing_policy = "shared"; then restart containerd',
    )


def cri_unavailable(reason: str) -> Finding:
    return Finding(
        IndexerCheck.CRI,
        "error",
        "containerd serves no CRI, so the kubelet cannot use it: the plugin is disabled or failed to start",
        f"RuntimeService/Status: {reason}",
        'in containerd\'s config.toml, remove "cri" from disabled_plugins, and remove `registry.mirrors` if '
        "config_path is set; then restart containerd",
    )


def _examine_config_path(
    settings: RuntimeSettings, version: ContainerdVersion, configured: str
) -> Iterator[Finding]:
    paths, known = _listed(settings.config_path), _listed(configured)
    wanted = next(iter(known), "")
    seen = f"{settings.source} of containerd {version.text}: config_path is {settings.config_path!r}"
    remedy = (
        f"in containerd's config.toml, under [{version.images_section}.registry], set "
        f'config_path = "{wanted}"; then restart containerd'
    )
    if not paths:
        problem = "config_path is not set, so containerd reads no hosts.toml and uses no mirror"
        yield Finding(IndexerCheck.CONFIG_PATH, "error", problem, seen, remedy)
    elif wanted not in paths:
        problem = (
            f"containerd reads hosts.toml files elsewhere, not in {wanted}, where the mirror is configured"
        )
        yield Finding(IndexerCheck.CONFIG_PATH, "error", problem, seen, remedy)
    elif len(paths) > 1 and version.numbers >= (2, 1) and not settings.pulls_locally:
        problem = (
            "containerd 2.1 and newer take several directories in config_path for a single path, and find "
            "none, unless use_local_image_pull is set"
        )
        yield Finding(IndexerCheck.CONFIG_PATH, "error", problem, seen, remedy)
    elif paths != known:
        problem = (
            "containerd reads other directories too, whose settings for a registry the configurator does not "
            "know, so they may not apply any more or come before the mirror"
        )
        remedy = (
            f'set HELIOGRAPH_REGISTRY_CONFIG_PATH="{":".join(paths)}" for configurator and indexer: the '
            "configurator writes to the first, and has to see the others at the same paths"
        )
        yield Finding(IndexerCheck.CONFIG_PATH, "warning", problem, seen, remedy)


def _pulls_locally(images: Mapping[str, Any]) -> bool:
    """Asked for, or because of a setting that the transfer service lacks (`CheckLocalImagePullConfigs`)."""
    registry = _table(images, "registry")
    return (
        images.get("use_local_image_pull") is True
        or images.get("disable_snapshot_annotations") is False
        or images.get("discard_unpacked_layers") is True
        or images.get("image_pull_with_sync_fs") is True
        or images.get("max_concurrent_downloads", 3) != 3
        or any(registry.get(name) for name in ("mirrors", "configs", "auths"))
    )


def _listed(paths: str) -> list[str]:
    return [path.rstrip("/") for path in paths.split(":") if path]


def _table(document: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document if isinstance(document, Mapping) else {}
