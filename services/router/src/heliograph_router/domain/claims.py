"""What each node says a tag points at, and which of them is right."""

from collections.abc import Callable, Iterable

from heliograph_router.domain.events import TagClaim
from heliograph_shared.digest import Digest


class Claims:
    """Claims by tag reference and by slot (a node's number in the index).

    A claim counts while `is_live` is true of its slot.
    """

    def __init__(self, is_live: Callable[[int], bool]) -> None:
        self._is_live = is_live
        self._claims: dict[str, dict[int, TagClaim]] = {}
        self._winners: dict[str, Digest | None] = {}  # a cache

    def __len__(self) -> int:
        return len(self._claims)

    def claim(self, slot: int, reference: str, tag: TagClaim) -> None:
        self._winners.pop(reference, None)
        self._claims.setdefault(reference, {})[slot] = tag

    def withdraw(self, slot: int, reference: str) -> None:
        """Remove a claim that was made."""
        self._winners.pop(reference, None)
        claims = self._claims[reference]
        del claims[slot]
        if not claims:
            del self._claims[reference]

    def forget_winners(self) -> None:
        """Clear the cache; to be called when a slot is no longer live."""
        self._winners.clear()

    def references(self) -> list[str]:
        """All references that some slot claims, live or not."""
        return list(self._claims)

    def count(self, reference: str) -> int:
        """How many live slots have the tag, whatever it points at."""
        return sum(1 for slot in self._claims.get(reference, ()) if self._is_live(slot))

    def winner(self, reference: str) -> Digest | None:
        """The digest by the rule of bus contract v1; None when no live slot has the tag."""
        claims = self._claims.get(reference)
        if claims is None:
            return None
        if reference not in self._winners:
            self._winners[reference] = _winner(tag for slot, tag in claims.items() if self._is_live(slot))
        return self._winners[reference]


def _winner(claims: Iterable[TagClaim]) -> Digest | None:
    """The digest that was first tagged last, so that re-pulling an old image late does not win.

    Of two first tagged at the same time, the higher digest.
    """
    earliest: dict[Digest, int] = {}
    for tag in claims:
        known = earliest.get(tag.digest)
        if known is None or tag.tagged_at_ms < known:
            earliest[tag.digest] = tag.tagged_at_ms
    return max(earliest, key=lambda digest: (earliest[digest], digest), default=None)
