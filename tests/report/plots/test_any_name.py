"""Figures of a run whose user named things as no one would expect."""

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


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_figure_is_drawn_whatever_it_is_called(tmp_path, name):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 3)).astype(np.float32)
    weight, signal = np.ones(300, np.float32), np.arange(300) % 2 == 0
    score = rng.random(300).astype(np.float32)
    names = [name, "pt", "eta"]
    figures = [
        *feature_distributions(features, weight, signal, names),
        feature_correlations(features, weight, signal, names),
        region(samples.toy_templates(2, names=name.replace("{", "{{").replace("}", "}}") + "{}")),
        *pulls([name, "mu"], np.array([0.5, 1.0]), np.array([0.8, 0.4])),
        roc({name: score, "b": score}, weight, signal),
    ]
    for number, figure in enumerate(figures):
        for file in save(figure, tmp_path, str(number)):
            assert file.parent == tmp_path
            assert file.stat().st_size > 100
