"""The checks of the indexer's doctor; `docs/doctor.md` explains each. Pure."""

from enum import StrEnum


class IndexerCheck(StrEnum):
    CONTAINERD = "containerd-unreachable"
    CRI = "cri-unavailable"
    CONFIG_PATH = "config-path"
    DISCARD = "discard-unpacked-layers"
    SHARING = "content-sharing"
    CONTENT_PATH = "content-path"
    LAYERS = "layers-missing"
    BUS = "bus-unreachable"
    CLOCK = "clock"
    ADDRESS = "address"
    PROXY = "containerd-proxy"
    NODE_NAME = "node-name-shared"
    REGISTRY_READY = "registry-not-ready"
    REGISTRY_REACHED = "registry-unreachable"
    PULL = "probe-pull"
    MIRROR_ASKED = "mirror-not-asked"
