"""Which variables does the single-top network need? Importance, and elimination by retraining.

    python examples/variables.py [--quick | --full] [--output FOLDER]

Ranks the 30 variables of the single-top sample by the gates of trained networks, drops them one
after the other with k-fold cross-validation, and shows what the smaller network is worth on events
that no choice has seen, and how its score is distributed in training and test. By default a quarter
of the events and short trainings; `--full` is for figures that mean something, `--quick` takes four
variables and shows that it works.
"""

# %% Set up
import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np

import difftune as dt
from difftune import job, report, selection
from difftune.job import build

FILE = Path(__file__).parent / "single_top" / "single_top.toml"


# %% What variables are judged with
def study(*settings, full, one_in=4):
    """The events, one in so many, with settings of the file that are others, and the training."""
    events = build.events(job.load(FILE, list(settings)))
    if not full:
        events = events.select(np.arange(len(events)) % one_in == 0)
    return selection.Study(
        events,
        dt.Recipe(
            model=dt.models.MLP(hidden=(32, 32)),
            hyperparameters={"learning_rate": 4e-3},
            batch_size=2048 if full else 1024,
        ),
        epochs=10 if full else 5,
        seeds=2 if full else 1,
    )


# %% All of it
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="two rounds of very short trainings")
    size.add_argument("--full", action="store_true", help="all events, longer trainings")
    parser.add_argument("--output", type=Path, default=Path("variables"))
    given = parser.parse_args()
    dt.use_cpu_cores()
    few = ["data.features=['top_mass', 'lightjet_abs_eta', 'mtw', 'ht']"] if given.quick else []
    asked = study(*few, full=given.full, one_in=16 if given.quick else 4)

    networks = selection.train(asked)
    ranked = selection.importance(asked, networks)
    table = report.importance_table(ranked)
    print(table.text())

    patience = 6 if given.full else 1 if given.quick else 2
    chosen = selection.eliminate(
        asked, candidates=4, patience=patience, folder=given.output / "rounds"
    )
    print(report.selection_table(chosen).text())
    print(f"{len(chosen.variables)} of {len(asked.units)} kept: {', '.join(chosen.variables)}")

    # Everything is decided: now the test events may be looked at.
    kept = np.ones((2, len(asked.units)), bool)
    kept[1] = [name in chosen.units for name in asked.units.names]
    before, after = selection.on_test_events(asked, kept).reshape(2, -1)
    difference = after - before
    print(
        f"test significance {before.mean():.1f} with all variables, {after.mean():.1f} with "
        f"these; difference {difference.mean():+.1f} ± "
        f"{difference.std(ddof=1) / np.sqrt(len(difference)):.1f}"
    )

    figures = {
        "importance": report.variable_importance(ranked),
        "path": report.selection_path(chosen),
        "correlations": report.clustered_correlations(ranked.correlation, ranked.variables),
    }
    for name, shapes in zip(("before", "after"), selection.score_shapes(asked, kept), strict=True):
        figures[f"shapes_{name}"] = report.score_distributions(**vars(shapes))
    for name, figure in figures.items():
        report.save(figure, given.output, name)
    (given.output / "importance.tex").write_text(table.latex())
    (given.output / "importance.csv").write_text(table.csv())
    print(f"pictures and tables in {given.output}")
