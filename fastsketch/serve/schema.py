"""What the API says, as types: the answers are made of them, and so is the OpenAPI document."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

Probability = Annotated[float, Field(ge=0, le=1)]
DataURL = Annotated[str, Field(description="A PNG as a `data:` URL.")]


LEAST_WIDTH, MOST_WIDTH = 0.25, 4.0
"""Of lines, as multiples of the usual."""

MOST_CLASSES = 20
"""Of which training sketches are shown."""


class Patches(BaseModel):
    """Which patches of its input a transformer with ink tokens is shown."""

    rows: int
    columns: int
    kept: list[int] = Field(description="Places in the grid, row by row.")


class Sight(BaseModel):
    """What a model is shown of a sketch."""

    size: int = Field(description="Side of its input in pixels.")
    image: DataURL
    patches: Patches | None = Field(None, description="Absent of a model that is shown all of it.")


class Answer(BaseModel):
    """What a sketch may show, the likeliest first."""

    labels: list[str]
    probabilities: list[Probability]
    ids: list[int] = Field(description="Places of the labels among the model's classes.")
    sight: Sight | None = Field(None, description="Where it was asked for with `sight=1`.")


class Neighbour(BaseModel):
    """A training sketch."""

    label: str
    id: str
    similarity: float = Field(description="Cosine of the angle between the features of both, in [-1, 1].")
    image: DataURL


class Neighbours(BaseModel):
    """The training sketches nearest to a drawing, of the classes that it may show, the likeliest class first."""

    neighbours: list[Neighbour]


class ModelInfo(BaseModel):
    """Who answers."""

    model: str
    classes: list[str]
    size: int = Field(description="Side of what the model is shown, in pixels.")
    gallery: bool = Field(description="Whether there are training sketches to compare with.")
    keeps: bool = Field(description="Whether it keeps what is drawn, unless it is a draft.")
    version: str = Field(description="Of fastsketch.")


class Health(BaseModel):
    """That the server answers."""

    status: str = "ok"
    waiting: int = Field(description="Sketches that wait for the model.")


class Problem(BaseModel):
    """Why there is no answer."""

    error: str
    hint: str | None = None


class Drawing(BaseModel):
    """A drawing in Quick, Draw!'s form; further keys are passed over."""

    drawing: list[list[list[float]]] = Field(
        description="Strokes, each `[[x, …], [y, …]]`, in any unit; x runs right, y down.",
        examples=[[[[0, 50, 100], [80, 0, 80]], [[10, 90], [120, 120]]]],
    )
    width: Annotated[float, Field(ge=LEAST_WIDTH, le=MOST_WIDTH)] = Field(
        1, description="Of the lines, as a multiple of the usual."
    )
