"""How a service's process starts, logs and stops."""

import asyncio
import errno
import logging
import os
import random
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog

from heliograph_shared.address import Address

T = TypeVar("T")

_PROXY_VARIABLES = {"http_proxy", "https_proxy", "grpc_proxy", "all_proxy"}


class StartupError(Exception):
    """The process cannot do its work as it was set up; the message tells the operator what to fix."""


def run(
    main: Callable[[asyncio.Event], Coroutine[None, None, None]],
    *,
    prog: str,
    log_level: str,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Run `main` until it returns; SIGTERM and SIGINT set the event it is given.

    Exits with 1 and one readable line on a `StartupError`.
    """
    configure_logging(log_level)
    ignore_proxies()
    failed = False
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            runner.run(_until_signalled(main))
        except* StartupError as group:
            for error in _leaves(group):
                structlog.get_logger().error("cannot start", service=prog, reason=str(error))
            failed = True
    if failed:  # raised within `except*`, Python 3.11.2 would put it into a group and print the traceback
        sys.exit(1)


def _leaves(group: BaseExceptionGroup[StartupError]) -> Iterator[StartupError]:
    """Task groups may have been nested."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def _until_signalled(main: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)


async def interruptible(work: Awaitable[T], numbers: Iterable[int], received: list[int]) -> T:
    """The result of `work`, which each of these signals cancels; their numbers go into `received`."""
    task = asyncio.ensure_future(work)

    def interrupt(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    return await task


def configure_logging(level: str) -> None:
    """Lines of JSON on standard error, or text where a person is watching; libraries' warnings too."""
    renderer: Any = structlog.processors.JSONRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    else:
        told = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # they may be secret
        shared.append(structlog.processors.ExceptionRenderer(told))
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


@asynccontextmanager
async def background(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run coroutines beside the body and cancel them after it; one that fails ends the body, and says why."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def backoff(first: float = 0.2, most: float = 5.0) -> Iterator[float]:
    """Seconds to wait before each further attempt: doubling, with full jitter above half."""
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        delay = min(delay * 2, most)


def ignore_proxies() -> None:
    """Connect directly, whatever proxies the environment names for the sake of other programs.

    All that Heliograph connects to is in the cluster or on this node. gRPC, HTTP clients and exporters of
    traces read these variables when they connect.
    """
    for name in [name for name in os.environ if name.lower() in _PROXY_VARIABLES]:
        del os.environ[name]


def raise_descriptor_limit() -> None:
    """To what the system allows: the usual 1,024 is meant for programs that call select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def bind(address: Address) -> socket.socket:
    """A bound, not yet listening TCP socket; an empty host or `::` takes IPv4 and IPv6.

    Raises `StartupError` when the address is taken or not of this machine.
    """
    try:
        return _bound(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartupError(f"{address} is in use by another process") from error
        raise StartupError(f"cannot listen on {address}: {error.strerror or error}") from error
    except UnicodeError as error:  # a name that no resolver can be asked for
        raise StartupError(f"cannot listen on {address}: {error}") from error


def _bound(address: Address) -> socket.socket:
    host = address.host or "::"
    if host == "::" and not _has_ipv6():
        host = "0.0.0.0"  # noqa: S104 - what the operator asked for, on a machine without IPv6
    family, kind, protocol, _, target = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        bound.bind(target)
    except BaseException:
        bound.close()
        raise
    bound.setblocking(False)
    return bound


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
