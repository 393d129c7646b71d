"""The application: which path is answered by what, and what is said instead where something is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from fastsketch.serve.api import API, Served
from fastsketch.serve.batching import Busy
from fastsketch.serve.bodies import Refused
from fastsketch.serve.guard import Guard
from fastsketch.serve.problem import RETRY, problem


def create_app(served: Served) -> ASGIApp:
    """The ASGI application.

    Args:
        served: What it serves.
    """
    api = API(served)
    routes = [
        Route("/api/predict", api.predict, methods=["POST"]),
        Route("/api/neighbours", api.neighbours, methods=["POST"]),
        Route("/api/model", api.model),
        Route("/healthz", api.health),
        Route("/openapi.json", api.openapi),
        Route("/", api.page),
        Route("/{name}", api.page),
    ]

    @asynccontextmanager
    async def working(app: Starlette) -> AsyncIterator[None]:
        work = asyncio.create_task(api.batcher.work())
        yield
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        api.batcher.close()
        api.decoding.shutdown(wait=False, cancel_futures=True)

    handlers: dict[Any, Callable[..., Any]] = {
        Refused: _refused,
        Busy: _busy,
        HTTPException: _http,
        Exception: _failed,
        ClientDisconnect: _gone,
    }
    starlette = Starlette(routes=routes, exception_handlers=handlers, lifespan=working)
    starlette.router.redirect_slashes = False  # there is nothing where they would lead
    app = Guard(starlette, served.token, served.origins, loopback=served.loopback)
    if not served.origins:
        return app
    headers = ("Authorization", "Content-Type")
    return CORSMiddleware(app, allow_origins=served.origins, allow_methods=["GET", "POST"], allow_headers=headers)


async def _refused(request: Request, error: Refused) -> Response:
    return problem(error.status, error.reason, error.hint)


async def _busy(request: Request, error: Busy) -> Response:
    return problem(503, "too many wait already", headers=RETRY)


async def _http(request: Request, error: HTTPException) -> Response:
    return problem(error.status_code, error.detail.lower(), headers=dict(error.headers or {}))


async def _failed(request: Request, error: Exception) -> Response:
    return problem(500, "that went wrong")  # `Guard` is told as well, and logs it


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # nobody reads it
