"""`python -m benchmarks.common MODULE:FUNCTION OPTIONS`: calls it and answers what it returns."""

import importlib
import json
import sys

from benchmarks.common import running

if __name__ == "__main__":
    running.open_answers()
    module, name = sys.argv[1].split(":")
    function = getattr(importlib.import_module(module), name)
    running.answer(function(**json.loads(sys.argv[2])))
