"""What stands before the application: a time limit, a token, other sites' scripts, and headers for every answer."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastsketch.errors import one_line
from fastsketch.serve.problem import RETRY, problem

log = logging.getLogger(__name__)

SECONDS = 30.0
"""For which a request may take, its slow client included."""

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods by which nothing is asked of a model."""

HEADERS = {
    # `blob:` and `data:` are pictures that the page itself makes or is answered with.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """See the module; an ASGI application around another one.

    Args:
        app: The application.
        token: Without which no request to `/api/` is answered; None for no such thing.
        origins: Other origins whose pages may ask.
        loopback: Answer only who asks for this machine by one of its own names, or for an origin's host: else a page
            from elsewhere, whose name is made to lead here, would be taken for ours.
    """

    def __init__(
        self, app: ASGIApp, token: str | None = None, origins: Sequence[str] = (), *, loopback: bool = False
    ) -> None:
        self._app, self._token, self._loopback = app, token, loopback
        self._origins, self._hosts = frozenset(origins), frozenset(map(_host_of, origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def answer(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            inner = self._refused(scope) or self._app
            await asyncio.wait_for(inner(scope, receive, answer), SECONDS)
        except asyncio.TimeoutError:
            if not began:
                await problem(503, "that took too long", headers=RETRY)(scope, receive, answer)
        except Exception as error:  # which the application has answered already
            said = f"{scope['method']} {scope['path']}: {type(error).__name__}: {error}"
            log.error("%s", one_line(said, 500))

    def _refused(self, scope: Scope) -> ASGIApp | None:
        """The answer to a request that goes no further."""
        headers = Headers(scope=scope)
        origin, host = headers.get("origin"), headers.get("host", "").lower()
        if self._loopback and host not in self._hosts and not is_loopback(_name_of(host)):
            return problem(403, "asked for by another name", "localhost, or what --allow-origin names")
        own = origin is None or _host_of(origin) == host
        if not own and origin not in self._origins and scope["method"] not in SAFE:
            return problem(403, "another site's page may not ask", "the server allows it with --allow-origin")
        if self._token is not None and scope["path"].startswith("/api/") and scope["method"] != "OPTIONS":
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), self._token.encode()):
                return problem(401, "this server wants its token", "Authorization: Bearer TOKEN; of the page: #TOKEN")
        return None


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _host_of(origin: str) -> str:
    """What a browser that asks for an origin sends as `Host`."""
    return origin.partition("://")[2]


def _name_of(host: str) -> str:
    """A `Host` header without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
