"""Changes of the yields of each sample, against pyhf's expectation by sample."""

import numpy as np
import pyhf
import pytest

from difftune.histfactory import Model
from difftune.inference import effects, fit
from tests.histfactory import samples, specs


@pytest.mark.parametrize("after", [False, True])
def test_changes_are_those_of_pyhf(after):
    spec = samples.toy_workspace() if after else specs.everything()
    theirs = pyhf.Workspace(spec).model()
    model = Model.from_spec(spec)
    best = fit(model)
    found = effects(model, best if after else None)
    config = theirs.config
    assert list(found) == list(config.channels)
    center = np.array(best.values if after else best.centers)
    sigmas = np.array(best.uncertainties if after else best.widths)

    def yields(point, channel):
        bins = config.channel_slices[channel]
        by_sample = theirs.main_model.expected_data(pyhf.tensorlib.astensor(point), True)
        return np.asarray(by_sample)[:, bins].sum(axis=1)

    checked = 0
    for channel, one in found.items():
        nominal = yields(center, channel)
        for row, name in enumerate(one.names):
            index = list(config.par_names).index(name)
            for sign, changes in ((1, one.up), (-1, one.down)):
                point = center.copy()
                point[index] += sign * sigmas[index]
                moved = yields(point, channel)
                for column, sample in enumerate(one.samples):
                    place = config.samples.index(sample)
                    relative = moved[place] / nominal[place] - 1
                    np.testing.assert_allclose(changes[row, column], relative, atol=1e-9)
                    checked += 1
    assert checked > 20
