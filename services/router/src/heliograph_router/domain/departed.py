"""Incarnations of nodes that are gone, so that what is late of them on the bus does not bring them back."""

from dataclasses import dataclass

from heliograph_router.domain.events import Moment

_REMEMBERED_S = 24 * 3600.0
_MAX_REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class _Departure:
    incarnation: int
    on_purpose: bool
    at_s: float


class Departed:
    """Remembers for 24 h, and the latest 50,000 at most."""

    def __init__(self) -> None:
        self._departures: dict[str, _Departure] = {}

    def remember(self, node: str, incarnation: int, at: Moment, *, on_purpose: bool) -> None:
        self._departures.pop(node, None)
        self._departures[node] = _Departure(incarnation, on_purpose, at.monotonic_s)
        if len(self._departures) > _MAX_REMEMBERED:
            del self._departures[next(iter(self._departures))]

    def incarnation_of(self, node: str) -> int:
        """The last one known; 0 when the node is not remembered."""
        departure = self._departures.get(node)
        return departure.incarnation if departure else 0

    def admits(self, node: str, incarnation: int) -> bool:
        """Whether that incarnation may come (back).

        One whose lease ended may only have been cut off; one that left on purpose is over.
        """
        departure = self._departures.get(node)
        if departure is None:
            return True
        return incarnation > departure.incarnation or (
            incarnation == departure.incarnation and not departure.on_purpose
        )

    def forget(self, node: str) -> None:
        self._departures.pop(node, None)

    def forget_old(self, at: Moment) -> None:
        while self._departures:
            node = next(iter(self._departures))
            if at.monotonic_s - self._departures[node].at_s < _REMEMBERED_S:
                return
            del self._departures[node]
