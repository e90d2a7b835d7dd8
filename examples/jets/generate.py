"""Make jets.root: large jets of W bosons, of top quarks, and of quarks and gluons.

    python generate.py                       # the sample as it is in the repository
    python generate.py --jets 50000 --kinds top qcd --seed 5 --output jets_50000.root

Pythia 8 makes pp collisions at 13 TeV without multiple interactions; a simple detector sees tracks,
and cells of two sizes; FastJet finds anti-kt jets of R = 0.8. Jets of each kind are drawn such that
their spectra of transverse momentum agree. Finished pieces lie in the cache folder, so a run that
was interrupted goes on where it was.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("awkward", "fastjet", "pythia8mc", "uproot", "vector")

PT, ETA = (550.0, 650.0), 2.0
PT_BINS = 5  # in each of which all kinds have as many jets
CONSTITUENTS = 80
PT_UNIT, ANGLE_UNIT = 0.25, 0.01
PIECE = 2000  # events of the generator
NUMBERS = 100_000  # event numbers of each kind
TRACK_PT, TRACK_ETA = 0.5, 2.5
PHOTON_CELL, HADRON_CELL = 0.02, 0.1


@dataclass(frozen=True)
class Kind:
    """How jets of a kind are made.

    Attributes:
        settings: Of Pythia, beside those that all kinds have.
        quarks: How many quarks of the decays lie in the jet at least, so that it holds all of one.
        bias: Power of the transverse momentum by which events are generated more often.
    """

    settings: tuple[str, ...]
    quarks: int
    bias: float


_HADRONIC_W = ("24:onMode = off", "24:onIfAny = 1 2 3 4 5")
KINDS = {
    "w": Kind(("WeakDoubleBoson:ffbar2WW = on", *_HADRONIC_W), quarks=2, bias=4.0),
    "top": Kind(("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *_HADRONIC_W), quarks=3, bias=5.0),
    "qcd": Kind(("HardQCD:all = on",), quarks=0, bias=5.0),
}
COMMON = (
    "Print:quiet = on",
    "Beams:eCM = 13000.",
    "PartonLevel:MPI = off",
    "Random:setSeed = on",
    "PhaseSpace:pTHatMin = 500.",
    "PhaseSpace:pTHatMax = 900.",
    "PhaseSpace:bias2Selection = on",
    "PhaseSpace:bias2SelectionRef = 500.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "jets.root")
    parser.add_argument("--jets", type=int, default=14_000, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of jets")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument(
        "--cache", type=Path, default=Path("jets_cache"), help="folder of finished pieces"
    )
    options = parser.parse_args()
    if options.jets > NUMBERS:
        parser.error(f"--jets {options.jets}: event numbers are for {NUMBERS} of each kind")
    # Here, so that the help needs no event generator.
    try:
        import making
    except ModuleNotFoundError as error:
        parser.error(f"there is no package {error.name}: pip install {' '.join(NEEDED)}")
    making.make(options)


if __name__ == "__main__":
    main()
