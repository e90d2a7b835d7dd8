"""What holds for all tests."""

import gc
import logging
import os
import shutil
from pathlib import Path

import jax
import jaxtyping
import pytest

from tests import CACHE, XLA_FLAGS
from tests.annotations import once_each

# What pytest's plugin puts at each function of difftune, which is not imported yet.
jaxtyping.jaxtyped = once_each

# Linux allows a process 65 530.
_MAPS = Path("/proc/self/maps")
_MOST_MAPS = 30_000


# The files that take longest, in this order: workers that begin with them end at the same time.
_LONGEST = (
    "job/test_cross_fit.py",
    "test_docs.py",
    "job/test_selection.py",
    "job/test_run.py",
    "training/test_processes.py",
    "analysis/test_resume.py",
    "analysis/test_each_fold.py",
    "inference/test_hypotest.py",
    "inference/test_steps.py",
    "training/test_devices.py",
    "models/test_joint.py",
    "training/test_evolution.py",
    "histfactory/test_model.py",
    "test_precision.py",
    "models/test_shape.py",
    "analysis/test_auto.py",
    "training/test_population.py",
    "objectives/test_fit_losses.py",
)


def pytest_configure(config):
    """Settings of JAX, and the order of files."""
    # For a JAX that a plugin imported before it could see the environment.
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    least = float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

    # Else xdist begins with the files of the most tests.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """The longest files first, the others as they are."""
    folder = Path(__file__).parent
    place = {folder / name: index for index, name in enumerate(_LONGEST)}
    missing = [str(file) for file in place if not file.exists()]
    if missing:
        raise pytest.UsageError(f"tests/conftest.py: there is no {', '.join(missing)}")
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_unconfigure():
    """Nothing of it stays."""
    if CACHE is not None:
        shutil.rmtree(CACHE, ignore_errors=True)


def pytest_collection_finish():
    """What is imported stays; looking through it again and again, for garbage, takes time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(autouse=True, scope="session")
def settings_of_users():
    """Glyphs are put into a PDF one by one; cutting fonts to size is half the time of a figure.

    Gives what makes the settings that users have.
    """
    from difftune.report import style

    settings = style.settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "settings", lambda: settings() | {"pdf.fonttype": 3})
        yield settings


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs():
    """Forgets compiled programs when there are many.

    Each of them maps memory, and at more maps than Linux allows a process, XLA ends with a
    segmentation fault. Other than that, the modules share what is compiled.
    """
    yield
    if not _MAPS.exists() or _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process(monkeypatch):
    """Undoes what the command line sets for its process, when a test before ran it in ours."""
    logger = logging.getLogger("difftune")
    monkeypatch.setattr(logger, "propagate", True)
    # One of them writes to a terminal that was that test's, and is closed.
    monkeypatch.setattr(logger, "handlers", [])
    # It is part of the key under which the programs are kept.
    monkeypatch.setenv("XLA_FLAGS", XLA_FLAGS)
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def few_rooms(monkeypatch):
    """Three sizes of a network on objects test what eight do, each of which is compiled."""
    monkeypatch.setattr("difftune.training.buckets._MOST", 3)


@pytest.fixture
def compilations():
    """What JAX traces and compiles meanwhile."""
    found = []

    def listener(event: str, seconds: float, **_) -> None:
        if event.startswith("/jax/core/compile"):
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listener)
    yield found
    jax.monitoring.unregister_event_duration_listener(listener)


@pytest.fixture
def nothing_shared(monkeypatch):
    """Compiles for each population anew, for a test that changes what is compiled."""
    from difftune.training import ModuleDef
    from difftune.training.programs import Programs

    monkeypatch.setattr("difftune.training.population.known_programs", Programs)
    monkeypatch.setattr("difftune.training.recipe._known_module_def", ModuleDef)
