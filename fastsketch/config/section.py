"""What every section of a configuration is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from fastsketch.config.report import report
from fastsketch.urls import written

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # which has no public name


def _nameable(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("no path has a null character in it")
    return path


Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
EpochsOrNone = Annotated[int, Field(ge=0, le=1_000_000)]
Images = Annotated[int, Field(ge=1, le=65_536)]
"""At a time: more would be a slip, and its memory is asked for before anything is learned."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""What torch's and NumPy's generators take as it is."""
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Of a hidden layer. Two of the widest have 17 GB of weights between them."""
Workers = Annotated[int, Field(ge=0, le=1024)]
Word = Annotated[str, Field(max_length=200)]
Side = Annotated[int, Field(ge=8, le=4096)]
PathName = Annotated[Path, AfterValidator(_nameable), PlainSerializer(written, str, when_used="json-unless-none")]
Scale = Annotated[float, Field(ge=0.01, le=100)]
ElementSide = Annotated[int, Field(ge=1, le=31)]
BetaParameter = Annotated[float, Field(ge=0, le=32)]


class _Reporting(ModelMetaclass):
    """Makes of pydantic's error, where a section is called for by name, the one that a recipe would get."""

    def __call__(self, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise report(self, error, self.__name__) from None  # type: ignore[arg-type]  # it makes models only


class Section(BaseModel, metaclass=_Reporting):
    """One section: cannot be changed, has no other keys, and every number in it is finite.

    Raises:
        ConfigError: Everything that is wrong with it, a line each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
