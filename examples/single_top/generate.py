"""Make single_top.root: single top in the t-channel and its backgrounds, pp at 13 TeV, with Pythia 8 and FastJet.

    python generate.py                       # the sample as it is in the repository
    python generate.py --scale 0.01 --output small.root

The work is cut into chunks with a seed each. A finished chunk is a file in the cache folder, so a run that was
interrupted goes on where it was. See README.md for the physics.
"""

import argparse
from pathlib import Path

NEEDED = ("awkward", "fastjet", "pythia8mc", "uproot", "vector")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "single_top.root")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="generated events, relative to the full sample"
    )
    parser.add_argument(
        "--tags",
        choices=("one_untagged", "both_tagged"),
        default="one_untagged",
        help="of the jets: the main sample, or that of two jets which are both tagged",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="PROCESS",
        help="make these again, and take the others from the output file as they are",
    )
    parser.add_argument(
        "--objects",
        type=Path,
        metavar="FILE",
        help="write the jets and azimuths of the same events to this file",
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--cache", type=Path, default=Path("single_top_cache"), help="folder of finished chunks"
    )
    options = parser.parse_args()
    if options.objects and options.only:
        parser.error("--objects needs all processes: leave out --only")
    # Here, so that the help needs no event generator.
    try:
        import production
    except ModuleNotFoundError as error:
        parser.error(f"there is no package {error.name}: pip install {' '.join(NEEDED)}")
    production.make(options)


if __name__ == "__main__":
    main()
