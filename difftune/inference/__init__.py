"""Expected significance, fits, CLs and limits."""

from difftune.inference.asimov import asimov_llr, asimov_significance

__all__ = ["asimov_llr", "asimov_significance"]
