"""Limits how often changes are published: a token bucket. Pure: the caller passes the time, in seconds.

A pull commits its blobs within a moment, and other nodes wait for each of them; a node that is busy all day
must not flood the bus. So messages follow each other quickly at first, and at four a second if that goes on.
"""

import math

_SPACING_S = 0.01
_MAX_TOKENS = 32  # most images have no more blobs
_TOKENS_PER_S = 4.0


class PublishRate:
    """One message every 10 ms until 32 tokens are used; tokens come back at four a second."""

    def __init__(self) -> None:
        self._tokens = float(_MAX_TOKENS)
        self._sent_s = -math.inf

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next message may be sent."""
        missing = max(0.0, 1.0 - self._tokens_at(now_s))
        return max(0.0, self._sent_s + _SPACING_S - now_s, missing / _TOKENS_PER_S)

    def sent(self, now_s: float) -> None:
        """Take a token for a message."""
        self._tokens = max(0.0, self._tokens_at(now_s) - 1.0)
        self._sent_s = now_s

    def _tokens_at(self, now_s: float) -> float:
        if self._sent_s == -math.inf:
            return self._tokens
        return min(_MAX_TOKENS, self._tokens + (now_s - self._sent_s) * _TOKENS_PER_S)
