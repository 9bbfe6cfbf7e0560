"""Whether an API server would take an object: by the schemas that Kubernetes publishes, or by ours.

Those of custom resources are in `schemas/`, one file for each `<group>_<version>_<kind>.json`.
"""

import json
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]

from tests.unit.deploy.manifests import Manifest

SCHEMAS = Path(__file__).parent / "schemas"
# The oldest version that is promised, and what was current at the release.
VERSIONS = ("1.30", "1.37")


def validate(manifest: Manifest, version: str) -> None:
    """Raises `ValidationError` of either kind; a field that would be dropped is an error too."""
    group = manifest["apiVersion"].rpartition("/")[0]
    if "." not in group or (group.endswith(".k8s.io") and not group.endswith("x-k8s.io")):
        _validate_builtin(json.dumps(manifest), version)
        return
    name = f"{manifest['apiVersion'].replace('/', '_')}_{manifest['kind']}.json"
    schema = json.loads((SCHEMAS / name).read_text())
    jsonschema.validate(manifest, schema, format_checker=jsonschema.FormatChecker())


@cache
def _validate_builtin(text: str, version: str) -> None:
    """Most objects are the same in most mixes, and this takes its time."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)
