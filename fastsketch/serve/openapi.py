"""The OpenAPI document of the API, made of the types that its answers are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from fastsketch.serve.bodies import IMAGES, STROKES
from fastsketch.serve.schema import MOST_CLASSES, Answer, Drawing, Health, ModelInfo, Neighbours, Problem
from fastsketch.version import __version__

PROBLEMS = {
    400: "The body is not what its type says.",
    401: "The token is missing or another one: Authorization: Bearer TOKEN.",
    403: "Another site's page asked, or one asked for another host.",
    404: "There are no training sketches to compare with.",
    408: "The body did not come.",
    413: "The body is too large, or what is in it.",
    415: "A body of a type that is not read.",
    422: "No drawing, no image, or a parameter that cannot be meant.",
    503: "Too many wait; come back after `Retry-After` seconds.",
}

_STROKES = {"schema": {"$ref": "#/components/schemas/Drawing"}}
_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_SKETCH = {"required": True, "content": {STROKES: _STROKES} | dict.fromkeys(IMAGES, _IMAGE)}

_MODELS = (Answer, Drawing, Health, ModelInfo, Neighbours, Problem)


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    _, definitions = models_json_schema(
        [(each, "serialization") for each in _MODELS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fastsketch serve",
            "version": __version__,
            "description": "Asks a trained model what a sketch shows, by the same way that its validation took.",
        },
        "paths": {
            "/api/predict": {
                "post": _operation(
                    "What a sketch shows",
                    Answer,
                    [
                        _parameter("topk", {"type": "integer", "minimum": 1, "default": 5}, "So many classes."),
                        _parameter("sight", {"type": "boolean", "default": False}, "And what the model is shown."),
                        _DRAFT,
                    ],
                )
            },
            "/api/neighbours": {
                "post": _operation(
                    "The training sketches nearest to a sketch",
                    Neighbours,
                    [
                        _parameter(
                            "topk",
                            {"type": "integer", "minimum": 1, "maximum": MOST_CLASSES, "default": 5},
                            "Of so many classes.",
                        ),
                        _DRAFT,
                    ],
                )
            },
            "/api/model": {"get": _operation("The model", ModelInfo, guarded=(401, 403))},
            "/healthz": {"get": _operation("Whether the server answers", Health, guarded=(403,))},
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Of servers with --token."}
            },
        },
    }


def _operation(
    summary: str, answer: type[Any], parameters: list[dict[str, Any]] | None = None, guarded: Iterable[int] = ()
) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": summary, "responses": {"200": _response(summary, answer)}}
    if parameters is not None:
        operation |= {"parameters": parameters, "requestBody": _SKETCH}
        guarded = PROBLEMS
    if guarded:
        operation["security"] = [{}, {"token": []}]
        operation["responses"] |= {str(status): _response(PROBLEMS[status], Problem) for status in guarded}
    return operation


def _response(description: str, answer: type[Any]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{answer.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


_DRAFT = _parameter("draft", {"type": "boolean", "default": False}, "It is not kept (--keep).")
