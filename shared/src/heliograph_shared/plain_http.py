"""One small HTTP GET to another service of this node: no proxy, a timeout, a bounded body."""

import urllib.error
import urllib.request
from dataclasses import dataclass

# A proxy of the environment never lies between two containers of one node.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    status: int
    body: bytes


def get(url: str, *, timeout_s: float, max_bytes: int) -> PlainAnswer:
    """Fetch `url` (http or https) with any status; at most `max_bytes` of the body are read.

    Blocks: connecting and each read may take `timeout_s`. Raises `TimeoutError` when one takes longer, and
    another `OSError` or `http.client.HTTPException` when there is no answer.
    """
    try:
        with _opener.open(url, timeout=timeout_s) as answer:
            return PlainAnswer(answer.status, answer.read(max_bytes))
    except urllib.error.HTTPError as error:
        with error:
            return PlainAnswer(error.code, error.read(max_bytes))
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError):
            raise error.reason from error
        raise
