"""`heliograph nodes`: lists the nodes that a router knows."""

from rich.console import Console

from heliograph_cli.credentials import ClientTls
from heliograph_cli.render import grid, plain
from heliograph_cli.router import open_router


async def nodes(target: str, tls: ClientTls, console: Console) -> None:
    """Raises `Unreachable`."""
    async with open_router(target, tls) as router:
        known, stats = await router.nodes(), await router.stats()
    table = grid(
        "node", "zone", "addresses", "in sync", "blobs", "tags", "sequence", "lease",
        right=("blobs", "tags", "sequence", "lease"),
    )  # fmt: skip
    for node in known:
        table.add_row(
            plain(node.node),
            plain(node.zone),
            plain(" ".join(node.addresses)) or "none",
            "yes" if node.in_sync else "no",
            f"{node.digests:,}",
            f"{node.tags:,}",
            str(node.sequence),
            f"{node.lease_left_s:.0f} s",
        )
    console.print(table)
    console.print(
        f"{stats.nodes} nodes, {stats.nodes_in_sync} in sync; {stats.digests:,} blobs held "
        f"{stats.pairs:,} times; {stats.tags:,} tags; the router is {'' if stats.ready else 'not '}ready",
        highlight=False,
    )
