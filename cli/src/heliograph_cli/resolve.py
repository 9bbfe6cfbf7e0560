"""`heliograph resolve`: shows which nodes hold an image or a blob."""

from rich.console import Console

from heliograph_cli.credentials import ClientTls
from heliograph_cli.errors import NotAnswered
from heliograph_cli.render import grid, plain
from heliograph_cli.router import open_router
from heliograph_shared.digest import InvalidDigest, parse_digest
from heliograph_shared.formatting import size
from heliograph_shared.reference import parse_reference
from heliograph_shared.rpc import resolver_pb2 as pb

_MAX_PEERS = 100
_REASONS = {
    pb.NOT_FOUND: "no node holds it",
    pb.NOT_SYNCED: "the router is still rebuilding its index, ask again in a moment",
    pb.GO_UPSTREAM: "no node holds it yet, and the router says to fetch it upstream",
    pb.INVALID_KEY: "the router does not accept this as a digest or a reference",
}


def key_of(text: str) -> str:
    """The resolver's key for a digest, a name with a digest, or a tag. Raises `InvalidReference`."""
    try:
        return parse_digest(text)
    except InvalidDigest:
        reference = parse_reference(text)
        return reference.digest or reference.tag_reference or ""


async def resolve(key: str, target: str, tls: ClientTls, console: Console) -> None:
    """Raises `NotAnswered` when the router does not know it, and `Unreachable`."""
    async with open_router(target, tls) as router:
        (found,) = await router.resolve([key], max_peers=_MAX_PEERS)
    if found.status != pb.FOUND:
        raise NotAnswered(key, _REASONS.get(found.status, f"status {found.status}"))
    console.print(f"digest  {plain(found.digest)}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"size    {size(found.size_bytes) if found.size_bytes else 'not known'}", highlight=False)
    table = grid("node", "zone", "addresses")
    for peer in found.peers:
        table.add_row(plain(peer.node), plain(peer.zone), plain(" ".join(peer.addresses)))
    if found.peers:
        console.print(table)
    else:
        console.print("no reachable node holds it")
