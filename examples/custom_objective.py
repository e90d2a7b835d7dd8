"""An objective of your own: a soft cut on the score, with a 5 % uncertainty of the background."""

import argparse
from pathlib import Path

import jax

import difftune as dt


def cut_and_count(scores, batch, hyperparameters, parameters):
    passes = batch.weight * jax.nn.sigmoid(scores)
    s, b = (passes * batch.label).sum(), (passes * (1 - batch.label)).sum()
    return jax.numpy.log(b + (0.05 * b) ** 2) / 2 - jax.numpy.log(s)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short search: it works")
    quick = parser.parse_args().quick
    dt.use_cpu_cores()
    events = dt.read(
        Path(__file__).parent / "single_top" / "single_top.root",
        processes=[dt.Process(name="tchannel", role="signal", tree="tchannel")]
        + [dt.Process(name=name, tree=name) for name in ("ttbar", "wjets")],
        features=["lightjet_abs_eta", "top_mass", "mtw", "lepton_charge", "ht", "delta_eta_lj"],
        weight="weight",
        event_number="event_number",
    )
    space = dt.Space(learning_rate=dt.log_uniform(1e-4, 1e-2), dropout=dt.uniform(0.0, 0.4))
    search = dt.search.PBT(
        population=4 if quick else 8, rounds=2 if quick else 4, epochs_per_round=2
    )
    tuned = dt.tune(events, objective=cut_and_count, space=space, search=search, on_round=print)
    print(tuned.ranking[0], dt.measure(tuned.network, tuned.split).stat_only, sep="\n")
