"""Wait for a state by polling it until a deadline, so that no test sleeps for a guessed time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast, overload

T = TypeVar("T")

INTERVAL = 0.01


@overload
async def eventually(
    check: Callable[[], Awaitable[T]],
    timeout: float = ...,  # noqa: ASYNC109
    message: str | Callable[[], str] = ...,
    *,
    interval: float = ...,
) -> T: ...
@overload
async def eventually(
    check: Callable[[], T],
    timeout: float = ...,  # noqa: ASYNC109
    message: str | Callable[[], str] = ...,
    *,
    interval: float = ...,
) -> T: ...
async def eventually(
    check: Callable[[], T | Awaitable[T]],
    timeout: float = 10.0,  # noqa: ASYNC109  the deadline of a poll, not a cancellation
    message: str | Callable[[], str] = "the condition did not hold",
    *,
    interval: float = INTERVAL,
) -> T:
    """Poll `check`, plain or async, and return its first truthy answer.

    An `AssertionError` in `check` means "not yet", so a check may consist of asserts; any other exception
    ends the wait at once. After `timeout` seconds, raises `AssertionError` with `message` and the last
    answer. A function as `message` is called then, so that it can show the final state.
    """
    deadline = time.monotonic() + timeout
    while True:
        value, failure = None, None
        try:
            outcome = check()
            value = await outcome if inspect.isawaitable(outcome) else outcome
            if value:
                return cast("T", value)
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise _expired(timeout, message, value) from failure
        await asyncio.sleep(interval)


def eventually_sync(
    check: Callable[[], T],
    timeout: float = 10.0,
    message: str | Callable[[], str] = "the condition did not hold",
    *,
    interval: float = INTERVAL,
) -> T:
    """Like `eventually`, for code without an event loop."""
    deadline = time.monotonic() + timeout
    while True:
        value, failure = None, None
        try:
            value = check()
            if value:
                return value
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise _expired(timeout, message, value) from failure
        time.sleep(interval)


def _expired(timeout: float, message: str | Callable[[], str], value: object) -> AssertionError:
    text = message if isinstance(message, str) else message()
    return AssertionError(f"{text} (within {timeout:g} s; last answer: {value!r})")
