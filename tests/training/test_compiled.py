"""The cache of compiled programs: where it is, and that a second process compiles nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from difftune.files import NO_CACHE, user_cache
from difftune.training import use_compilation_cache
from difftune.training.compiled import processor

COMPILES = """
import json, sys
import jax, jax.monitoring
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
from difftune.training import compiled
compiled._SECONDS_WORTH_KEEPING = 0.0
place = compiled.use_compilation_cache()
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.jit(lambda x: (x @ x.T).sum())(jax.numpy.ones((3, 3)) * 2)
print(json.dumps([str(place), sum(name.endswith("/cache_misses") for name in events),
                  sum(name.endswith("/cache_hits") for name in events)]))
"""


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_", NO_CACHE))
    }
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", COMPILES],
            cwd=Path(__file__).parents[2],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
    (place, missed, hits), (same, missed_again, hits_again) = found
    assert place == same == str(tmp_path / "difftune" / "jax" / processor())
    assert missed > 0
    assert hits == 0
    assert (missed_again, hits_again) == (0, missed)


def test_what_the_user_has_set_stays(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    assert before
    monkeypatch.delenv(NO_CACHE)
    assert use_compilation_cache(tmp_path) == Path(before)
    assert jax.config.jax_compilation_cache_dir == before
    monkeypatch.setenv(NO_CACHE, "1")
    assert use_compilation_cache(tmp_path) is None
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="of the XDG specification")
def test_folder_follows_the_xdg_specification(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_cache() == tmp_path / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    assert user_cache() == tmp_path / "here"
