"""What `import difftune` does, and what it leaves alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import difftune

QUIET = """
import json, sys
import difftune
heavy = ("jax", "flax", "optax", "numpy", "matplotlib", "pyhf", "uproot", "pydantic")
first = sorted(name for name in heavy if name in sys.modules)
version = difftune.__version__
print(json.dumps({"loaded": first, "modules": sorted(m for m in sys.modules if "difftune" in m)}))
"""

# Everything public, as a user's script would take it; JAX's settings before and after.
SETTINGS = """
import json, os
import jax
from jax._src import xla_bridge
before, flags = dict(jax.config.values), os.environ.get("XLA_FLAGS")
import difftune
for name in difftune.__all__:
    getattr(difftune, name)
after = dict(jax.config.values)
changed = [k for k in {*before, *after} if before.get(k) != after.get(k)]
print(json.dumps({
    "changed": changed,
    "backends": sorted(xla_bridge._backends),
    "flags": os.environ.get("XLA_FLAGS") == flags,
}))
"""


# A fit and what surrounds it; then JAX comes, and is told what a model is.
FITS = """
import json, sys
import numpy as np
from difftune import inference
from difftune.histfactory import Model
from tests.histfactory.specs import everything
model = Model.from_spec(everything())
best = inference.fit(model)
inference.goodness_of_fit(model)
inference.upper_limit(model)
heavy = sorted({"jax", "pyhf", "scipy.stats", "jsonschema"} & set(sys.modules))
import jax
with jax.enable_x64(True):
    traced = jax.jit(lambda model: 2 * model.nll(best.values))(model)
print(json.dumps({"heavy": heavy, "traced": float(traced), "fitted": float(best.twice_nll)}))
"""


def run(program: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_import_is_quick_and_loads_nothing_heavy():
    found = run(QUIET)
    assert found["loaded"] == []
    assert found["modules"] == ["difftune"]


@pytest.mark.slow
def test_pictures_of_a_likelihood_do_not_wait_for_networks():
    found = run(
        "import json, sys; import difftune.report as report; "
        "before = [name for name in ('flax', 'optax') if name in sys.modules]; "
        "every = [getattr(report, name).__name__ for name in report.__all__]; "
        "print(json.dumps({'before': before, 'every': len(every)}))"
    )
    assert found == {"before": [], "every": len(difftune.report.__all__)}


def test_fits_do_without_jax_and_pyhf_until_somebody_imports_them():
    found = run(FITS)
    assert found["heavy"] == []
    assert found["traced"] == pytest.approx(found["fitted"], rel=1e-12)


@pytest.mark.slow
def test_nothing_public_starts_a_backend_or_changes_a_setting():
    found = run(SETTINGS)
    assert found["changed"] == []
    assert found["backends"] == []
    assert found["flags"]


@pytest.mark.parametrize("name", difftune.__all__)
def test_every_public_name_resolves(name):
    value = getattr(difftune, name)
    # A function or class of that name, not the module that it lives in.
    if name in difftune._NAMES:
        assert value.__name__ == name
        assert value.__module__.startswith(f"difftune.{difftune._NAMES[name]}")
    assert name in dir(difftune)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tuna'"):
        _ = difftune.tuna


def test_the_module_is_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "difftune", "--version"],
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"difftune, version {difftune.__version__}\n"
