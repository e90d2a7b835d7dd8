"""Figures that difftune must reach: `python -m benchmarks NAME` prints required, measured, met."""
