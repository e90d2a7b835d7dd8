"""Figures of a run whose user named things as no one would expect."""

from dataclasses import replace

import numpy as np
import pytest

from difftune.report import (
    feature_correlations,
    feature_distributions,
    pulls,
    region,
    roc,
    save,
)
from tests.report import samples

NAMES = [r"$\frac{$", "a$b$c$", r"\$", "<script>'\"&", "__", "{}%#~^", "é\x00\tß", "../" * 90]


@pytest.mark.slow
@pytest.mark.parametrize("odd", [NAMES[:4], NAMES[4:]], ids=["first", "second"])
def test_a_figure_is_drawn_whatever_it_is_called(tmp_path, odd):
    rng = np.random.default_rng(0)
    names = [*odd, "pt"]
    features = rng.normal(size=(300, len(names))).astype(np.float32)
    weight, signal = np.ones(300, np.float32), np.arange(300) % 2 == 0
    scores = rng.random((len(names), 300)).astype(np.float32)
    templates = samples.toy_templates(len(names))
    processes = dict(zip([*names, "signal"], templates.processes.values(), strict=True))
    figures = [
        *feature_distributions(features, weight, signal, names),
        feature_correlations(features, weight, signal, names),
        region(replace(templates, processes=processes)),
        *pulls(names, np.linspace(-0.5, 1.0, len(names)), np.full(len(names), 0.8)),
        roc(dict(zip(names, scores, strict=True)), weight, signal),
    ]
    for number, figure in enumerate(figures):
        for file in save(figure, tmp_path, str(number)):
            assert file.parent == tmp_path
            assert file.stat().st_size > 100
