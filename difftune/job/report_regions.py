"""The regions of a run in its report: their variations, and what they are after the fit."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from difftune import report
from difftune.analysis import Measurement, Treatment
from difftune.histfactory import Model
from difftune.histograms import Templates
from difftune.inference import effects, predictions
from difftune.job.outcome import Outcome
from difftune.job.report_output import Output
from difftune.report import Block, Collapsible, Section, Text


def said_of_data(measurement: Measurement, templates: Templates) -> str:
    """What is drawn as data of a region, in words."""
    if templates.data is not None:
        return "observed data"
    return "Asimov data (blinded)" if templates.channel in measurement.blinded else "Asimov data"


_OF_NOISE = {
    "keep": 'They are in the fit as they are; [fit] noise = "smooth" or "prune" changes that.',
    "prune": "They are dropped, as the table says.",
    "smooth": "Shapes are smoothed or dropped, as the table says; yields stay.",
}


def pruned_table(treatments: Sequence[Treatment]) -> report.Table:
    """What was dropped and smoothed, of which process and region, and why.

    Args:
        treatments: What became of variations.
    """
    return report.Table(
        columns=("Variation", "Process", "Region", "What", "Why"),
        rows=tuple(
            (each.variation, each.process, each.region, each.what, each.reason)
            for each in treatments
        ),
        caption="Variations that are not in the fit as they are in the simulation.",
    )


def signal_region_section(outcome: Outcome, output: Output) -> Section:
    """The measured region before the fit, and what its variations do.

    Args:
        outcome: What the run found.
        output: Where figures and tables go.
    """
    templates = outcome.measurement.templates
    normalisation = outcome.job.nuisances["normalisation"]
    done = outcome.measurement.treatments
    systematics = any(process.variations for process in templates.processes.values())
    both = systematics or bool(normalisation)
    return Section(
        "Signal region and systematics" if both else "Signal region",
        [
            output.picture(
                report.region(templates, normalisation=normalisation, label=output.label),
                "signal_region",
                "Expected events before the fit, with their statistical "
                f"{'and systematic ' if both else ''}uncertainty, and "
                f"{said_of_data(outcome.measurement, templates)}.",
            ),
            output.table(report.yields_table([templates], normalisation=normalisation), "yields"),
            *([output.table(pruned_table(done), "pruned")] if done else []),
            *(
                output.folded(
                    "Systematic variations",
                    lambda: _variations(outcome, output),
                )
                if systematics
                else []
            ),
            *(
                output.folded("Smoothed variations", lambda: _smoothed(outcome, output))
                if outcome.measurement.untreated is not None
                else []
            ),
        ],
    )


def _variations(outcome: Outcome, output: Output) -> list[Block]:
    """The templates of each variation, and what is not worth to be seen."""
    templates = outcome.measurement.templates
    varied = report.systematic_variations(templates, label=output.label)
    hidden = report.negligible(templates, varied)
    note = f"Negligible, and not shown: {', '.join(hidden)}." if hidden else "None is negligible."
    if noisy := [str(each) for each in outcome.noise if each.noisy]:
        note += (
            f" Of these the statistical error exceeds the effect: {'; '.join(noisy)}. "
            + _OF_NOISE[outcome.config.fit.noise]
        )
    return [*output.pictures(varied, "systematics", "Nominal, up and down."), Text(note)]


def _smoothed(outcome: Outcome, output: Output) -> list[Block]:
    """Shapes of variations as they are in the simulation, and in the fit."""
    own = outcome.measurement
    figures = report.smoothed_variations(
        own.untreated or {}, own.workspace, label=replace(output.label, status="Simulation")
    )
    said = "Shapes in the simulation (dotted) and in the fit, relative to nominal."
    return output.pictures(figures, "smoothed", said) or [Text("No shape was smoothed.")]


def _effects(outcome: Outcome, output: Output, model: Model) -> list[Block]:
    """What systematics do to each sample of each region, before and after the fit."""
    return [
        output.table(
            report.effects_table(
                one,
                caption=f"Change of the yields in {channel} by one standard deviation {when} the "
                "fit, in %, without what correlated parameters do.",
            ),
            f"effects_{channel}_{when}_fit",
        )
        for when, result in (("before", None), ("after", outcome.fit))
        for channel, one in effects(model, result).items()
        if one.names
    ]


def regions_section(outcome: Outcome, output: Output) -> Section:
    """All regions before and after the fit; of one without a name, which is above, after it.

    Args:
        outcome: What the run found.
        output: Where figures and tables go.
    """
    own = outcome.measurement
    normalisation = outcome.job.nuisances["normalisation"]
    everything = [*own.fitted, *own.validation]
    model = Model.from_spec(own.extended)
    after = predictions(model, outcome.fit)
    asimov = {each["name"]: np.array(each["data"]) for each in own.workspace["observations"]}
    known = {region.name: region for region in outcome.sample.events.regions}

    known_errors = (
        "Uncertainties after the fit are those of all parameters with their correlations."
        if np.all(np.isfinite(np.asarray(outcome.fit.uncertainties)))
        else "The data do not determine all parameters, so there are no uncertainties after the "
        "fit; its pulls say which one is free."
    )

    yields_after = output.table(report.yields_table(everything, predictions=after), "yields_after")
    by_sample = output.folded(
        "Systematics of each sample, before and after the fit",
        lambda: _effects(outcome, output, model),
    )

    def fitted(templates: Templates, what: str, options: dict[str, Any]) -> Block:
        name, data = templates.channel, said_of_data(own, templates)
        return output.picture(
            report.region(templates, prediction=after[name], **options),
            f"{name}_after_fit",
            f"{what}: expected events with their uncertainty after the fit, and {data}.",
        )

    if not known and len(everything) == 1:
        options = {"asimov": asimov.get(own.templates.channel), "label": output.label}
        picture = fitted(own.templates, "Fitted", options)
        return Section("After the fit", [Text(known_errors), picture, yields_after, *by_sample])

    def both(templates: Templates) -> Block:
        # Channels that no region of the file has made are categories of the network.
        name, region = templates.channel, known.get(templates.channel)
        options: dict[str, Any] = {"asimov": asimov.get(name), "label": output.label}
        if region is not None and not region.scored:
            options["axis"] = region.expression or "All events"
        data = said_of_data(own, templates)
        apart = region is not None and not region.fitted
        what = "Predicted from the fit of the other regions" if apart else "Fitted"
        role = "Signal" if region is None else region.role.capitalize()
        return Collapsible(
            f"{role} region {name}",
            [
                output.picture(
                    report.region(templates, normalisation=normalisation, **options),
                    f"{name}_before_fit",
                    f"Expected events before the fit, and {data}.",
                ),
                fitted(templates, what, options),
            ],
        )

    return Section(
        "Regions",
        [
            Text(
                f"The fit takes in {', '.join(each.channel for each in own.fitted)}: {own.data}. "
                f"{known_errors}"
            ),
            output.table(
                report.yields_table(everything, normalisation=normalisation), "yields_before"
            ),
            yields_after,
            *map(both, everything),
            *by_sample,
        ],
    )
