"""The ROOT files of a sample: flat trees, or objects as ntuples, and how they were made."""

import json
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

Trees = dict[str, dict[str, np.ndarray]]  # tree, branch


def write(path: Path, trees: Trees, metadata: dict) -> None:
    """One ROOT file, LZMA compressed, with what made it in the string `metadata` (JSON)."""
    with uproot.recreate(path, compression=uproot.LZMA(9)) as file:
        file["metadata"] = json.dumps(metadata)
        for name, tree in trees.items():
            file.mktree(name, {branch: values.dtype for branch, values in tree.items()})
            file[name].extend(
                {branch: np.ascontiguousarray(values) for branch, values in tree.items()}
            )


def write_objects(path: Path, ntuples: dict[str, ak.Array], metadata: dict) -> None:
    """The same with an RNTuple for each tree: it counts the objects of a collection once, where a tree does so for
    each of their branches, and is a fifth smaller.
    """
    with uproot.recreate(path, compression=uproot.LZMA(9)) as file:
        file["metadata"] = json.dumps(metadata)
        for name, entries in ntuples.items():
            file.mkrntuple(name, entries)


def read(path: Path) -> tuple[Trees, dict]:
    """What `write` has written: the trees and the metadata."""
    with uproot.open(path) as file:
        trees = {
            name: file[name].arrays(library="np")
            for name in file.keys(cycle=False)
            if name != "metadata"
        }
        return trees, json.loads(str(file["metadata"]))
