"""What a workspace is told beyond the templates."""

from dataclasses import dataclass
from typing import Any

from difftune.arguments import takes, texts
from difftune.errors import InputError


def _processes(given: Any) -> tuple[str, ...] | None:
    """One or several names; None for all."""
    return None if given is None else texts(given, "processes", 'processes=("ttbar",)')


@takes(processes=_processes)
@dataclass(frozen=True)
class NormalisationUncertainty:
    """A constrained uncertainty of yields: pyhf's normsys.

    Attributes:
        name: Name of the nuisance parameter; a name shared with a variation or another
            uncertainty means one parameter.
        up: Relative change at plus one standard deviation: 0.06 is 6 %.
        down: Relative change at minus one standard deviation, `-up` if not given.
        processes: The processes that it acts on; None: all.
    """

    name: str
    up: float
    down: float | None = None
    processes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuses yields that are not positive at one standard deviation."""
        if not min(self.factors) > 0:
            raise InputError(
                f"NormalisationUncertainty({self.name!r}): factors {self.factors} on the yield "
                f"(from up={self.up}, down={self.down}) must be positive. The changes are "
                "relative: 0.06 is 6 %. For 100 % and more, give `down` too, -0.5 for instance."
            )

    @property
    def factors(self) -> tuple[float, float]:
        """Factors on the yield at plus and minus one standard deviation."""
        return 1 + self.up, 1 + (-self.up if self.down is None else self.down)


@takes(processes=_processes)
@dataclass(frozen=True)
class Luminosity:
    """The uncertainty of the luminosity: pyhf's lumi.

    Attributes:
        uncertainty: Relative, 0.017 is 1.7 %.
        name: Name of the nuisance parameter.
        processes: The processes that scale with it; None: all. Leave out what is normalised to
            data.
    """

    uncertainty: float
    name: str = "lumi"
    processes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuses what is no relative uncertainty."""
        if not 0 < self.uncertainty < 1:
            raise InputError(
                f"Luminosity(uncertainty={self.uncertainty}) must be between 0 and 1: 0.017 is "
                "1.7 %. For none, leave the luminosity out."
            )


@takes(processes=_processes)
@dataclass(frozen=True)
class FreeNormalisation:
    """A factor on yields that the fit determines: pyhf's normfactor.

    Attributes:
        name: Name of the parameter.
        processes: The processes that it acts on.
        bounds: Range in the fit, around 1.
    """

    name: str
    processes: tuple[str, ...]
    bounds: tuple[float, float] = (0.0, 10.0)

    def __post_init__(self) -> None:
        """Refuses a range without the nominal value."""
        if not self.bounds[0] < 1 < self.bounds[1]:
            raise InputError(
                f"FreeNormalisation({self.name!r}): bounds {self.bounds} must contain 1, the "
                "nominal value."
            )
