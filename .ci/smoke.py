"""Runs every example, and the smoke run of every benchmark, two at a time.

    python .ci/smoke.py FOLDER [WORD]

FOLDER is for logs, pictures and compiled programs; what is run has WORD in its name. That is
whatever lies in the folders, but tutorials, which are run where the documentation is built. Python
programs are forked from a process that has imported what nearly all of them import, which takes
each some 2.5 seconds. At the end it names all that failed.
"""

import atexit
import gc
import importlib
import multiprocessing
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
AT_A_TIME = 2

# The longest first, so that both workers end at the same time.
LONGEST = [
    *(f"benchmarks/{n}.py" for n in ("single_top", "selection", "search", "graphs", "population")),
    *("examples/neutrino_telescope/telescope.py", "examples/systematics_aware.py"),
]
PICTURE = ("adversarial", "antenna", "binning", "boosting", "regression", "systematics_aware")
# With stand-ins for what a cluster has: is what the script calls a command of difftune?
STAND_INS = {
    "srun": '#!/bin/sh\nwhile [ "$1" != difftune ]; do shift; done\nexec "$@"\n',
    "difftune": '#!/bin/sh\nexec python -m difftune "$@" --help\n',
}


def names() -> list[str]:
    """All that there is; modules that only others import are left out."""
    found = [
        path
        for pattern in ("*.py", "*/*.py", "*/*.toml", "*/*.sh", "*/*.sub", "*/Snakefile")
        for path in sorted((ROOT / "examples").glob(pattern))
        if path.suffix != ".py" or "__main__" in path.read_text()
    ]
    found += [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if path.stem[0] != "_"]
    every = [str(path.relative_to(ROOT)) for path in found if path.parent.name != "tutorials"]
    return sorted(every, key=lambda each: LONGEST.index(each) if each in LONGEST else len(LONGEST))


def command(name: str, out: Path) -> list[str]:
    """What is run for a file; its first word is `python` or a program."""
    path, single_top = Path(name), ROOT / "examples" / "single_top"
    match path.suffix or path.name:
        case ".sh":
            for stand_in, text in STAND_INS.items():
                (out / stand_in).write_text(text)
                (out / stand_in).chmod(0o755)
            return ["bash", name, "analysis.toml", str(out / "new")]
        case ".sub":
            lines = dict(
                line.split("=", 1) for line in path.read_text().splitlines() if "=" in line
            )
            (program,) = (v.strip() for key, v in lines.items() if key.strip() == "executable")
            return ["test", "-x", program]
        case "Snakefile":
            options = ["--dry-run", "--snakefile", name, "--cores", "2", "--directory", str(out)]
            given = {"analysis": single_top / "single_top.toml", "folder": out / "run"}
            given["files"] = single_top / "single_top.root"
            return ["snakemake", *options, "--config", *(f"{k}={v}" for k, v in given.items())]
        case ".toml" if path.stem == "nanoaod":
            whole = ["run", name, "--quick", "--output", str(out / "run")]
            return ["python", "-m", "difftune", *whole]
        case ".toml":
            return ["python", "-m", "difftune", "check", name]
    if path.parts[0] == "benchmarks":
        return ["python", "-m", "benchmarks", path.stem, "--quick"]
    return ["python", name, *arguments(path, out)]


def arguments(path: Path, out: Path) -> list[str]:
    """Those of an example."""
    pictures = ["--output", str(out / "pictures")]
    match path.stem:
        # Pythia and FastJet are not installed: only that it says so.
        case "generate":
            return ["--help"]
        case "validate":
            return ["--figures", str(out / "figures")]
        case "telescope":
            return ["--quick", "--folder", str(out)]
        case "variables":
            return ["--quick", *pictures]
        case "likelihood" | "posterior":
            # A published one; where there is none, that of the main job. The second example only
            # says what it needs: blackjax is not installed.
            workspace = DATA / "workspaces" / "SH4b_50bins.json"
            if not workspace.exists():
                workspace = Path(os.environ["WORKSPACE"])
            return ["--quick", str(workspace), *pictures]
        case "negative_weights":
            events = DATA / "events"
            if not events.exists():
                return ["--quick", *pictures]
            sherpa = [str(events / f"sherpa_ztautau_emu_{number}.root") for number in (1, 2)]
            other = str(events / "atlas_dilepton_weightsys.root")
            return ["--quick", *pictures, "--sherpa", *sherpa, "--other", other]
        case name if name in PICTURE:
            return ["--quick", "--output", str(out / "picture.png")]
    return ["--quick"]


def become(words: list[str], log: str) -> None:
    """In a forked process: what `python` would do with these words."""
    os.setpgid(0, 0)
    # As the command does.
    gc.set_threshold(10_000, 20, 50)
    for descriptor in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), descriptor)
    code = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            sys.path.insert(0, str(ROOT))
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            sys.path.insert(0, str(ROOT / Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    # A forked process leaves this out.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def forked(words: list[str], log: Path, limit: float) -> int:
    """Exit code of what is forked; it is killed, with all that it has started, after the limit."""
    process = PREPARED.Process(target=become, args=(words, str(log)))
    process.start()
    process.join(limit)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode


def run(name: str, folder: Path, limit: float) -> bool:
    """Runs one, and says how long it took, or its last words; whether it did what it should."""
    out, began = folder / name.replace("/", "_"), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    log, words = out / "log", command(name, out)
    log.write_text(f"$ {shlex.join(words)}\n")
    path = f"{out}{os.pathsep}{os.environ['PATH']}"
    if shutil.which(words[0], path=path) is None:
        code, what = 0, f"{name}, without {words[0]}"
    elif "nanoaod" in name and "DIFFTUNE_PUBLIC_FILES" not in os.environ:
        code, what = 0, f"{name}, without its files: see its README"
    elif words[0] == "python":
        code, what = forked(words[1:], log, limit), name
    else:
        with log.open("a") as file:
            told = {"stdout": file, "stderr": file, "env": os.environ | {"PATH": path}}
            code, what = subprocess.run(words, timeout=limit, **told).returncode, name
    took = f"{time.monotonic() - began:4.0f} s"
    if code == 0:
        print(f"{took}  {what}", flush=True)
    else:
        last = "".join(f"    {line}\n" for line in log.read_text().splitlines()[-30:])
        print(f"{took}  FAILED {what} ({code})\n{last}", flush=True)
    return code == 0


def main() -> None:
    """Runs all that was asked for."""
    folder, word = Path(sys.argv[1]).resolve(), "".join(sys.argv[2:3])
    limit = float(os.environ.get("SMOKE_TIMEOUT", "400"))
    wanted = [name for name in names() if word in name]
    with ThreadPoolExecutor(AT_A_TIME) as workers:
        good = list(workers.map(lambda name: run(name, folder, limit), wanted))
    if not all(good):
        failed = [name for name, each in zip(wanted, good, strict=True) if not each]
        sys.exit(f"FAILED: {' '.join(failed)}")


# Forked processes import this file, and must not start anything.
if __name__ == "__main__":
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    # With a core for each, threads would wait for those of the other.
    for variable in ("PJRT_NPROC", "OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        os.environ.setdefault(variable, "1")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{Path(sys.argv[1]).resolve()}/compiled")
    # Settings of the tests: nearly all of the time goes into compiling what runs for a moment.
    importlib.import_module("tests")
    PREPARED = multiprocessing.get_context("forkserver")
    PREPARED.set_forkserver_preload(["tests.job.imported"])
    main()
