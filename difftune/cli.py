"""The command line: verbs only. What it does, a script can do with the library."""

import gc
import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import difftune

if TYPE_CHECKING:
    from difftune.training import Processes

logger = logging.getLogger("difftune")
_TERMINAL = "terminal"


class _Level(logging.Formatter):
    """Plain lines for information; the level in front of anything graver."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(difftune.__version__, prog_name="difftune")
def cli() -> None:
    """Tunes a whole high-energy-physics analysis at once."""


_overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the file, e.g. --set search.population=8. May be repeated.",
)


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Run directory.")
@click.option("--resume", is_flag=True, help="Continue the run in the run directory.")
@click.option("--quiet", is_flag=True, help="Show warnings and the result only.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "jax", "mpi", "none"]),
    default="auto",
    help="What connects the processes that mpirun or srun has started: jax.distributed "
    "(auto and jax), or MPI through mpi4jax.",
)
@click.option("--unblind", is_flag=True, help="Look at the observed events of all regions.")
@click.option(
    "--quick",
    is_flag=True,
    help="A first answer: no search, nothing to compare with.",
)
@_overrides
def run(
    config: Path,
    output: Path | None,
    resume: bool,
    quiet: bool,
    engine: str,
    unblind: bool,
    quick: bool,
    overrides: tuple[str, ...],
) -> None:
    """Runs the whole analysis of CONFIG, a TOML file: tune, bin, fit, report.

    Started by mpirun or srun, the processes share the training; the first does the rest.
    """
    from difftune.training import connect, use_compilation_cache, use_cpu_cores

    use_cpu_cores()
    use_compilation_cache()
    processes = connect(engine)
    with _together(processes):
        first = processes.rank == 0
        _log_to_terminal(logging.WARNING if quiet or not first else logging.INFO)
        from difftune.analysis import explained
        from difftune.job import load, quickened
        from difftune.job import run as run_analysis

        folder = output

        def kept() -> str:
            return "" if not first else _kept(folder)

        with explained(kept, program=True):
            asked = (*overrides, "fit.unblind=true") if unblind else overrides
            settings = processes.agreed(lambda: load(config, asked))
            settings = quickened(settings) if quick else settings
            folder = output or Path(settings.general.output)
            result = run_analysis(settings, folder, resume=resume, processes=processes)
        if result is not None:
            click.echo(result.summary)


def _again(folder: Path, *overrides: str, luminosity: float | None = None) -> None:
    """Measures and draws a finished run once more."""
    from difftune.training import use_compilation_cache, use_cpu_cores

    use_cpu_cores()
    use_compilation_cache()
    _log_to_terminal(logging.INFO)
    from difftune.job import measured_again

    click.echo(measured_again(folder, overrides, luminosity=luminosity).summary)


@cli.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--luminosity", type=float, help="Another luminosity, in 1/fb.")
@_overrides
def report(folder: Path, luminosity: float | None, overrides: tuple[str, ...]) -> None:
    """Measures, fits and draws the finished run in RUN again, and trains nothing.

    Keys that change nothing of the training may be changed: --set fit.noise=smooth.
    """
    _again(folder, *overrides, luminosity=luminosity)


@cli.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
def unblind(folder: Path) -> None:
    """Looks at the observed events of all regions of the finished run in RUN; trains nothing."""
    _again(folder, "fit.unblind=true")


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@_overrides
def check(config: Path, overrides: tuple[str, ...]) -> None:
    """Reads CONFIG and its data, reports what is wrong, and trains nothing."""
    _log_to_terminal(logging.INFO)
    from difftune.job import load

    settings = load(config, overrides)
    from difftune.job import check as check_analysis

    click.echo(check_analysis(settings))


_RUN = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))


@cli.command()
@_RUN
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder to write to; RUN/scores by default."
)
@click.option("--tree", "trees", multiple=True, help="Only this tree. May be repeated.")
@click.option(
    "--branch", help="Name of the new branch; score, or what a regression calls its predictions."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["root", "parquet"]),
    help="ROOT friend trees, or Parquet; by default as the input is.",
)
@click.option(
    "--friends",
    multiple=True,
    metavar="FILES",
    help="Path or pattern of the friends of FILES, in the place of what the run was told. Once for "
    "each of its friends that has files of its own.",
)
def apply(
    folder: Path,
    files: tuple[str, ...],
    output: Path | None,
    trees: tuple[str, ...],
    branch: str | None,
    form: str | None,
    friends: tuple[str, ...],
) -> None:
    """Writes the score of RUN's network for every entry of FILES, as friends of their trees."""
    _log_to_terminal(logging.INFO)
    from difftune.job import apply as apply_network

    apply_network(
        folder, files, output, trees=trees or None, branch=branch, form=form, friends=friends
    )


@cli.command()
@click.argument(
    "folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
def compare(folders: tuple[Path, ...]) -> None:
    """Shows the figures of finished runs side by side, and in what their settings differ."""
    from difftune.job import compare as compare_runs

    click.echo(compare_runs(folders))


@cli.command()
@_RUN
def watch(folder: Path) -> None:
    """Follows RUN, which another process is making, until it ends."""
    from difftune.job import watch as lines_of

    for line in lines_of(folder):
        click.echo(line)


@cli.command()
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("analysis.toml"),
    show_default=True,
    help="The analysis file to write.",
)
def init(files: tuple[str, ...], output: Path) -> None:
    """Writes a commented analysis file from what is in FILES: trees, weights, variations.

    Or from a configuration of TRExFitter that reads ntuples.
    """
    _log_to_terminal(logging.INFO)
    from difftune.job import draft

    questions = draft(files, output).questions
    click.echo(f"wrote {output}. Look at the lines marked EDIT:")
    for question in questions:
        click.echo(f"  - {question}")
    click.echo(f"Then: {shlex.join(['difftune', 'check', str(output)])}")


@cli.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--signal", multiple=True, metavar="NAME", help="Sample that is signal. Repeatable.")
@click.option("--minutes", type=float, help="Wall time; by default that of the mode.")
@click.option(
    "--mode",
    type=click.Choice(["quick", "standard", "thorough"]),
    default="standard",
    show_default=True,
    help="1, 10 or 60 minutes.",
)
@click.option("--networks-only", is_flag=True, help="Boosted trees do not take part.")
@click.option(
    "--cross-fit/--one-test",
    default=None,
    help="Measure all events, each by what has not seen it, or those of one fold. By default the "
    "former where the files have event numbers.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("auto"),
    show_default=True,
    help="Folder of the draft, the network, the leaderboard and the report.",
)
@_overrides
def auto(
    files: tuple[str, ...],
    signal: tuple[str, ...],
    minutes: float | None,
    mode: str,
    networks_only: bool,
    cross_fit: bool | None,
    output: Path,
    overrides: tuple[str, ...],
) -> None:
    """Finds the best classifier of the events in FILES, or of an analysis file.

    Networks and boosted trees take part; what validates best is measured.
    """
    from difftune.training import use_compilation_cache, use_cpu_cores

    use_cpu_cores()
    use_compilation_cache()
    _log_to_terminal(logging.INFO)
    from difftune.job import automatic

    found = automatic(
        files,
        output,
        signal=signal,
        minutes=minutes,
        mode=mode,
        networks_only=networks_only,
        cross_fit=cross_fit,
        overrides=overrides,
    )
    click.echo(found.leaderboard.text())
    own = found.measurement
    click.echo(f"{own.figure.symbol} = {own.value:.4g} ({own.uncertainties}, {own.data})")
    click.echo(f"See {output / 'report.html'}; the network is in {output / 'network'}")


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Run directory.")
@click.option("--resume", is_flag=True, help="Continue the selection in the run directory.")
@_overrides
def select(config: Path, output: Path | None, resume: bool, overrides: tuple[str, ...]) -> None:
    """Chooses the variables of CONFIG by its [selection], and tunes nothing.

    `difftune run CONFIG --resume` goes on from there.
    """
    from difftune.training import use_compilation_cache, use_cpu_cores

    use_cpu_cores()
    use_compilation_cache()
    _log_to_terminal(logging.INFO)
    from difftune.analysis import explained
    from difftune.job import load, selected_text
    from difftune.job import select as select_variables

    settings = load(config, overrides)
    folder = output or Path(settings.general.output)
    with explained(lambda: _kept(folder), program=True):
        chosen = select_variables(settings, folder, resume=resume)
    click.echo(selected_text(chosen))


@cli.command()
@click.argument("workspace", type=click.Path(path_type=Path))
@click.argument("parts", nargs=-1)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of results.json, figures, tables and report.html; by default nothing is written.",
)
@click.option("--mass", help="What $MASS of a datacard stands for.")
@click.option("--measurement", help="Name of the measurement; by default the first.")
@click.option("--poi", help="Name of the parameter of interest, if not the measurement's.")
@click.option(
    "--patch",
    "patches",
    multiple=True,
    metavar="FILE",
    help="JSON patch, or PATCHSET:NAME; a whole PATCHSET for exclusion. Repeatable.",
)
@click.option(
    "--bounds",
    multiple=True,
    metavar="NAME=LOW:HIGH",
    help="Bounds of a parameter, e.g. --bounds mu=-5:10. Repeatable.",
)
@click.option("--fixed", multiple=True, metavar="NAME[=VALUE]", help="A parameter that stays.")
@click.option("--group", "groups", multiple=True, metavar="NAME=PATTERN", help="Of impacts.")
@click.option("--toys", type=int, default=0, help="Pseudo-experiments of the goodness of fit.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def fit(
    workspace: Path,
    parts: tuple[str, ...],
    output: Path | None,
    mass: str | None,
    measurement: str | None,
    poi: str | None,
    patches: tuple[str, ...],
    bounds: tuple[str, ...],
    fixed: tuple[str, ...],
    groups: tuple[str, ...],
    toys: int,
    as_json: bool,
) -> None:
    """Fits the likelihood in WORKSPACE: JSON of pyhf or HS3, a datacard, TRExFitter, HistFactory.

    PARTS are any of inspect, fit, gof, limit, scan and impacts; by default all of them. Or
    exclusion alone: all signals of a patch set are tested, --patch PATCHSET.
    """
    if "exclusion" in parts:
        if len(parts) > 1 or len(patches) != 1 or groups or toys:
            raise click.UsageError(
                "exclusion stands alone, with one --patch PATCHSET: difftune fit BKG.json "
                "exclusion --patch patchset.json"
            )
        asked = {
            "bounds": dict(_interval(text) for text in bounds),
            "fixed": dict(_held(text) for text in fixed),
        }
        _exclusion(workspace, patches[0], output, as_json, (measurement, poi), asked)
        return
    if toys:
        from difftune.training import use_compilation_cache

        use_compilation_cache()
    _log_to_terminal(logging.INFO)
    from difftune.histfactory import FROM_MEASUREMENT, Model
    from difftune.inference import examine
    from difftune.workspaces import read_file

    model = Model.from_spec(
        read_file(workspace, mass=mass),
        measurement=measurement,
        poi=poi or FROM_MEASUREMENT,
        patches=[_patch(text) for text in patches],
    )
    collected: dict[str, list[str]] = {}
    for text in groups:
        name, pattern = _pair("--group", text, "NAME=PATTERN")
        collected.setdefault(name, []).append(pattern)
    found = examine(
        model,
        parts,
        toys=toys,
        groups=collected,
        bounds=dict(_interval(text) for text in bounds),
        fixed=dict(_held(text) for text in fixed),
    )
    if not as_json:
        click.echo("\n".join(found.lines()))
    if as_json or output is not None:
        from difftune.report import likelihood_report, to_json

        if as_json:
            click.echo(to_json(found.to_dict()))
        if output is not None:
            page = likelihood_report(found, output, title=workspace.stem)
            click.echo(f"See {page}", err=as_json)


def _exclusion(
    workspace: Path,
    patch_set: str,
    output: Path | None,
    as_json: bool,
    names: tuple[str | None, str | None],
    asked: dict[str, Any],
) -> None:
    """Tests all signals of a patch set."""
    _log_to_terminal(logging.INFO)
    from difftune.histfactory import FROM_MEASUREMENT
    from difftune.inference import exclusion, signal_grid
    from difftune.precision import FEW

    grid = signal_grid(workspace, patch_set, measurement=names[0], poi=names[1] or FROM_MEASUREMENT)
    if len(grid.models) > FEW:
        from difftune.training import use_compilation_cache

        use_compilation_cache()
    found = exclusion(grid, limits=True, **asked)
    from difftune.report import exclusion_report, exclusion_table, to_json

    if as_json:
        click.echo(to_json(found._asdict() | {"excluded": found.excluded}))
    else:
        click.echo(exclusion_table(found).text())
    if output is not None:
        page = exclusion_report(found, output, title=workspace.stem)
        click.echo(f"See {page}", err=as_json)


@cli.command()
@click.argument("workspaces", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="File; of cabinetry a folder.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["pyhf", "hs3", "datacard", "cabinetry"]),
    default="pyhf",
    show_default=True,
    help="What to write.",
)
@click.option(
    "--join",
    type=click.Choice(["outer", "none", "left outer", "right outer"]),
    default="outer",
    show_default=True,
    help="What to do with channels and measurements that two have.",
)
@click.option("--mass", help="What $MASS of datacards stands for.")
def combine(
    workspaces: tuple[Path, ...], output: Path, form: str, join: str, mass: str | None
) -> None:
    """Writes WORKSPACES as one, or one in another format.

    They are what `difftune fit` reads. Parameters of one name are one.
    """
    _log_to_terminal(logging.INFO)
    from difftune.workspaces import Workspace

    first, *others = (Workspace.read(path, mass=mass) for path in workspaces)
    found = first.combine(*others, join=join)
    write: dict[str, Callable[[Path], object]] = {
        "pyhf": found.write,
        "hs3": found.write_hs3,
        "datacard": found.write_datacard,
        "cabinetry": found.write_cabinetry,
    }
    write[form](output)
    click.echo(f"{output}: {found}")


def _pair(option: str, text: str, form: str) -> tuple[str, str]:
    """What stands before and after the first equals sign."""
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise click.BadParameter(f"{option} {text}: give {form}.")
    return name, value


def _number(option: str, text: str, form: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise click.BadParameter(f"{option}: {text!r} is no number; give {form}.") from error


def _interval(text: str) -> tuple[str, tuple[float, float]]:
    """Bounds of a parameter."""
    form = "NAME=LOW:HIGH"
    name, value = _pair("--bounds", text, form)
    low, _, high = value.partition(":")
    return name, (_number("--bounds", low, form), _number("--bounds", high, form))


def _held(text: str) -> tuple[str, float | None]:
    """A fixed parameter, and its value if that is not where it starts."""
    name, sign, value = text.partition("=")
    return name, _number("--fixed", value, "NAME or NAME=VALUE") if sign else None


def _patch(text: str) -> str | tuple[str, str]:
    """A file, or one patch of a set."""
    file, sign, name = text.rpartition(":")
    return (file, name) if sign and not Path(text).exists() and Path(file).exists() else text


def _kept(folder: Path | None) -> str:
    """What an interrupted run leaves behind, and the command that goes on."""
    if folder is None or not (folder / "config.json").is_file():
        return "Nothing had begun, so there is nothing to keep; run the same command again."
    from difftune.job.rundir import kept

    rounds = kept(folder)
    said = f"Kept in {folder}: {rounds}" if rounds else f"No round had ended in {folder}"
    arguments = [each for each in sys.argv[1:] if each != "--resume"]
    return f"{said}. Go on with: {shlex.join(['difftune', *arguments, '--resume'])}"


@contextmanager
def _together(processes: "Processes") -> Iterator[None]:
    """Ends all processes when one of them cannot go on."""
    from difftune.analysis import Terminated, exit_code
    from difftune.errors import DifftuneError

    if processes.size == 1:
        yield
        return
    try:
        yield
    except DifftuneError:
        # It happens to all of them; the first says it.
        if processes.rank == 0:
            raise
        sys.exit(2)
    except (KeyboardInterrupt, Terminated) as error:
        # The others were told as well, or notice; waiting for them would take too long.
        processes.abort(exit_code(error))
        raise
    except BaseException:
        traceback.print_exc()
        click.echo(
            f"error: process {processes.rank} of {processes.size} cannot go on, so the job ends. "
            "Continue it with --resume, on any number of processes.",
            err=True,
        )
        processes.abort()
        raise


def _log_to_terminal(level: int) -> None:
    for old in [h for h in logger.handlers if h.name == _TERMINAL]:
        logger.removeHandler(old)
    handler = logging.StreamHandler()
    handler.name = _TERMINAL
    handler.setFormatter(_Level("%(message)s"))
    handler.setLevel(level)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    # Libraries that configure the root logger would print every line twice.
    logger.propagate = False


def _leave(code: int) -> NoReturn:
    """Ends without taking apart what JAX has made, for which there may be no time."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Entry point: what the user did wrong ends with exit code 2 and a message, not a traceback."""
    from difftune.errors import DifftuneError, InputError
    from difftune.heartbeat import heartbeat

    # JAX makes millions of objects while it traces, and next to nothing of them is garbage: to look
    # for some after every 700 of them takes a sixth of a small run.
    gc.set_threshold(10_000, 20, 50)
    try:
        with heartbeat("starting"):
            cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        _leave(128 + signal.SIGINT)
    except SystemExit as error:
        if error.code == 128 + signal.SIGTERM:
            _leave(error.code)
        raise
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except DifftuneError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
