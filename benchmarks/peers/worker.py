"""`python -m benchmarks.peers.worker MODULE`: makes and runs contestants on orders from stdin.

Orders and answers are lines of JSON. MODULE is a module of this package with a function
`make(**options)`, which returns a function: given a count of units (epochs, models), it does the
work and returns one number, a loss where it trains.
"""

import importlib
import json
import os
import sys
import time
import traceback


def main() -> None:
    # Libraries print; the answers get a stream that nobody else knows.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contestants = {}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            began = time.perf_counter()
            if "make" in order:
                make = importlib.import_module(f"benchmarks.peers.{sys.argv[1]}").make
                contestants[order["make"]] = make(**order["options"])
                began = time.perf_counter()
                count, key = 1, order["make"]
            elif "drop" in order:
                count, key = 0, None
                contestants.pop(order["drop"], None)
            else:
                count, key = order["count"], order["run"]
            value = contestants[key](count) if key is not None else 0.0
            answer = {"seconds": time.perf_counter() - began, "value": float(value)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
