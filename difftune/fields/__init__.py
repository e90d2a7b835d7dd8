"""Fields interpolated with their uncertainties: scale factors, efficiencies, antenna patterns."""

from difftune.fields.domains import DOMAINS as DOMAINS
from difftune.fields.domains import Circle, Domain, Line, Plane, Sphere
from difftune.fields.fitting import fit
from difftune.fields.maps import FieldMap
from difftune.fields.measured import Measurements, read_measurements
from difftune.fields.posterior import Posterior
from difftune.fields.prior import Prior

__all__ = [
    "Circle",
    "Domain",
    "FieldMap",
    "Line",
    "Measurements",
    "Plane",
    "Posterior",
    "Prior",
    "Sphere",
    "fit",
    "read_measurements",
]
