"""Answers that say why there is no other."""

from __future__ import annotations

from starlette.responses import JSONResponse

from fastsketch.serve.schema import Problem

RETRY = {"Retry-After": "1"}
"""The header that tells who is sent away after how many seconds to come back."""


def problem(status: int, error: str, hint: str | None = None, headers: dict[str, str] | None = None) -> JSONResponse:
    """An HTTP status, what is wrong in a line, and how to mend it."""
    return JSONResponse(Problem(error=error, hint=hint).model_dump(exclude_none=True), status, headers)
