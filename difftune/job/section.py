"""What all tables of the analysis file share: how strict they are, and types of their values."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
# A slash would be a folder in the ROOT file of the templates.
Name = Annotated[str, Field(min_length=1, pattern=r"^[^/]+$")]


class Section(BaseModel):
    """A table of the analysis file; what it does not know it refuses."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )
