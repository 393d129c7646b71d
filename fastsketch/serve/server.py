"""The server: its socket, how long it waits for whom, and how it ends."""

from __future__ import annotations

import contextlib
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Callable, Generator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.serve.guard import SECONDS

HEAD_SECONDS = 10.0
"""For which the head of a request may take to come."""

MOST_CONNECTIONS = 4_000
"""At once; who comes then is sent away."""

MOST_HEAD_BYTES = 32 << 10
"""Of a request: its first line and its headers."""

READ = 16 << 10
"""Bytes that are taken from a connection in one go: others have their turn after what is in so many, chunk by chunk."""

WRITE_SECONDS = 10.0
"""For which what a client has not read yet may stay more than is sent on."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: There is no such host or port.
        FastSketchError: Another program listens there.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except (socket.gaierror, OverflowError, UnicodeError) as error:
        raise ConfigError(f"--host {host} --port {port}: {error}") from error
    except OSError as error:
        raise FastSketchError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}", hint="choose another --port"
        ) from error


def create_server(app: ASGIApp, on_start: Callable[[], object]) -> Server:
    """A server that, once it runs, ends by SIGINT, SIGTERM or `should_exit`, after what was asked before is answered.

    Args:
        app: The application.
        on_start: Called once questions are answered.
    """
    _allow_files(2 * MOST_CONNECTIONS)
    config = uvicorn.Config(
        app,
        loop="asyncio",  # uvloop's transports cannot be told how much to read
        http=Patient,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(SECONDS),
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )
    return Server(config, on_start)


class Server(uvicorn.Server):
    """uvicorn's, which tells when it has begun, and for which a signal is an end like any other."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if not self.should_exit:
            self._on_start()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's, but a signal that was obeyed is not raised once more."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


class Patient(H11Protocol):
    """uvicorn's protocol, whose patience ends: uvicorn itself waits for ever for heads, and for answers to be read."""

    _head: TimerHandle | None = None
    _unread: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        transport.max_size = READ  # type: ignore[attr-defined]  # asyncio's own, which is 256 KiB
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Begin to wait, where this is the first of a head."""
        if self._idle() and self._head is None:
            self._wait()
        super().data_received(data)
        if not self._idle():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        self._read_on()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        self._unread = self.loop.call_later(WRITE_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has read."""
        self._read_on()
        super().resume_writing()

    def _read_on(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self._head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


def _allow_files(count: int) -> None:
    """Let the process have so many connections, as far as it may."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
