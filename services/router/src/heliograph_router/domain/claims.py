"""What each node says that a tag points at, and which of them is right."""

from collections.abc import Callable, Iterable

from heliograph_router.domain.events import Tag
from heliograph_shared.digest import Digest


class Claims:
    """By tag and slot of a node. `seen` tells whether what a slot says still counts."""

    def __init__(self, seen: Callable[[int], bool]) -> None:
        self._seen = seen
        self._claims: dict[str, dict[int, Tag]] = {}
        self._winners: dict[str, Digest | None] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def claim(self, slot: int, reference: str, tag: Tag) -> None:
        self._winners.pop(reference, None)
        self._claims.setdefault(reference, {})[slot] = tag

    def withdraw(self, slot: int, reference: str) -> None:
        """Of a claim that was made."""
        self._winners.pop(reference, None)
        claims = self._claims[reference]
        del claims[slot]
        if not claims:
            del self._claims[reference]

    def forget_winners(self) -> None:
        """Another slot is no longer seen."""
        self._winners.clear()

    def references(self) -> list[str]:
        """Those that some slot has claimed, seen or not."""
        return list(self._claims)

    def count(self, reference: str) -> int:
        """How many slots that are seen have the tag, whatever it points at."""
        return sum(1 for slot in self._claims.get(reference, ()) if self._seen(slot))

    def winner(self, reference: str) -> Digest | None:
        """By the rule of bus contract v1; None when no node that is seen has the tag."""
        claims = self._claims.get(reference)
        if claims is None:
            return None
        if reference not in self._winners:
            self._winners[reference] = _winner(tag for slot, tag in claims.items() if self._seen(slot))
        return self._winners[reference]


def _winner(claims: Iterable[Tag]) -> Digest | None:
    """The digest whose earliest tagging is latest, then the higher: a late re-pull of an old one loses."""
    earliest: dict[Digest, int] = {}
    for tag in claims:
        known = earliest.get(tag.digest)
        if known is None or tag.tagged_at_ms < known:
            earliest[tag.digest] = tag.tagged_at_ms
    return max(earliest, key=lambda digest: (earliest[digest], digest), default=None)
