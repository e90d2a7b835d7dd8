"""`python -m benchmarks NAME [--quick] [--part PART]`."""

import argparse
import importlib
import inspect
import os
import pkgutil
import sys
from pathlib import Path

import benchmarks
from benchmarks.common.running import COMPILED
from benchmarks.common.table import text

# Packages are what they share, and their peers.
MODULES = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.ispkg]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=sorted(set(MODULES) - {"__main__"}))
    parser.add_argument("--quick", action="store_true", help="a smoke run at reduced size")
    parser.add_argument(
        "--part", action="append", metavar="NAME", help="this part alone; repeatable"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="goes on with what is there, where that is long"
    )
    options = parser.parse_args()
    if not options.quick:
        # What a user waits for is measured, so nothing is compiled already.
        for name in COMPILED:
            os.environ.pop(name, None)
        # Some take samples from the tests, which else have the compiler do as little as it can.
        os.environ.setdefault("XLA_FLAGS", "")
    module = importlib.import_module(f"benchmarks.{options.name}")
    parts = {}
    if options.keep:
        if "keep" not in inspect.signature(module.run).parameters:
            parser.error(f"{options.name} keeps nothing")
        parts["keep"] = options.keep.resolve()
    if options.part:
        known = getattr(module, "PARTS", {})
        if unknown := [name for name in options.part if name not in known]:
            parser.error(f"no part {unknown[0]!r}; there are: {', '.join(known) or 'none'}")
        parts["parts"] = options.part
    rows = module.run(quick=options.quick, **parts)
    if options.quick:
        print("smoke run: it shows that the benchmark works; the figures mean nothing")
    print(text(rows))
    return 0 if options.quick or all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
