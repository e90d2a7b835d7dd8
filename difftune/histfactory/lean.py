"""pyhf's modifiers without the arrays that difftune has no use for.

pyhf decides which parameters a model has, in which order, with which constraints. On the way it
writes down every variation for every sample and bin of the model, most of which it does not touch:
for thousands of variations that is most of the time and memory of building a model.
"""

from typing import Any

from pyhf.modifiers import histfactory_set, histosys, normsys

_PARAMETERS = {"histosys": histosys.required_parset, "normsys": normsys.required_parset}


class _Builder:
    """Notes the parameters of variations by their names."""

    is_shared = True
    kind: str

    def __init__(self, config: Any) -> None:
        self.required_parsets: dict[str, list[Any]] = {}

    def append(self, key: str, channel: str, sample: str, modifier: Any, defined: Any) -> None:
        if modifier and modifier["name"] not in self.required_parsets:
            needed = _PARAMETERS[self.kind](defined["data"], modifier["data"])
            self.required_parsets[modifier["name"]] = [needed]

    def finalize(self) -> dict[str, Any]:
        return {}


class _Histosys(_Builder):
    kind = "histosys"


class _Normsys(_Builder):
    kind = "normsys"


class _Addition:
    name, op_code = "histosys", "addition"

    def __init__(self, **_: Any) -> None:
        """Applies nothing."""


class _Multiplication:
    name, op_code = "normsys", "multiplication"

    def __init__(self, **_: Any) -> None:
        """Applies nothing."""


MODIFIERS = {
    **histfactory_set,
    "histosys": (_Histosys, _Addition),
    "normsys": (_Normsys, _Multiplication),
}
"""For `pyhf.Model(modifier_set=...)`: its `config` is that of pyhf's own; it expects nothing."""
