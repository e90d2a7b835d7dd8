"""The regions of a run in its report: before and after the fit, and where it is a prediction."""

from collections.abc import Callable
from typing import Any

import numpy as np

from difftune import report
from difftune.analysis import Measurement
from difftune.histfactory import Model
from difftune.histograms import Templates
from difftune.inference import predictions
from difftune.job.outcome import Outcome
from difftune.report import Block, Collapsible, Label, Section, Text


def said_of_data(measurement: Measurement, templates: Templates) -> str:
    """What is drawn as data of a region, in words."""
    if templates.data is not None:
        return "observed data"
    return "Asimov data (blinded)" if templates.channel in measurement.blinded else "Asimov data"


def regions_section(
    outcome: Outcome,
    picture: Callable[..., Block],
    table: Callable[[report.Table, str], report.Table],
    label: Label,
) -> Section:
    """All regions before and after the fit.

    Args:
        outcome: What the run found.
        picture: Saves a figure under a name and hands it to the report with a caption.
        table: The same for a table and its name.
        label: What stands above the figures.
    """
    own = outcome.measurement
    normalisation = outcome.job.nuisances["normalisation"]
    everything = [*own.fitted, *own.validation]
    after = predictions(Model.from_spec(own.extended), outcome.fit)
    asimov = {each["name"]: np.array(each["data"]) for each in own.workspace["observations"]}
    known = {region.name: region for region in outcome.sample.events.regions}

    known_errors = (
        "Uncertainties after the fit are those of all parameters with their correlations."
        if np.all(np.isfinite(np.asarray(outcome.fit.uncertainties)))
        else "The data do not determine all parameters, so there are no uncertainties after the "
        "fit; its pulls say which one is free."
    )

    def both(templates: Templates) -> Block:
        name, region = templates.channel, known[templates.channel]
        options: dict[str, Any] = {"asimov": asimov.get(name), "label": label}
        if not region.scored:
            options["axis"] = region.expression or "All events"
        data = said_of_data(own, templates)
        what = "Fitted" if region.fitted else "Predicted from the fit of the other regions"
        return Collapsible(
            f"{region.role.capitalize()} region {name}",
            [
                picture(
                    report.region(templates, normalisation=normalisation, **options),
                    f"{name}_before_fit",
                    f"Expected events before the fit, and {data}.",
                ),
                picture(
                    report.region(templates, prediction=after[name], **options),
                    f"{name}_after_fit",
                    f"{what}: expected events with their uncertainty after the fit, and {data}.",
                ),
            ],
        )

    return Section(
        "Regions",
        [
            Text(
                f"The fit takes in {', '.join(each.channel for each in own.fitted)}: {own.data}. "
                f"{known_errors}"
            ),
            table(report.yields_table(everything, normalisation=normalisation), "yields_before"),
            table(report.yields_table(everything, predictions=after), "yields_after"),
            *map(both, everything),
        ],
    )
