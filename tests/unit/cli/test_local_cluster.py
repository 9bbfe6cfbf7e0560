"""What a local cluster consists of."""

from pathlib import Path

from heliograph_cli.layout import Layout
from heliograph_cli.local_cluster import plan, service_names
from heliograph_cli.ports import Ports


def test_every_service_has_a_name_to_leave_it_out_by(tmp_path: Path) -> None:
    stores = [Layout(tmp_path / "a"), Layout(tmp_path / "b")]
    with Ports() as ports:
        cluster = plan(tmp_path, stores, ports)
    assert list(cluster.services) == service_names(2)
    assert {name: program.name for name, program in cluster.services.items()} == {
        "router": "router",
        "registry@node-1": "node-1 registry",
        "indexer@node-1": "node-1 indexer",
        "registry@node-2": "node-2 registry",
        "indexer@node-2": "node-2 indexer",
    }
