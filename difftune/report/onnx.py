"""Export of a network as ONNX, for CMSSW, Athena and whatever else runs ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from difftune.data import FeatureTransform
from difftune.data.transform import FAR
from difftune.errors import InputError
from difftune.files import writing
from difftune.models import (
    ABSENT,
    AZIMUTH,
    EPSILON,
    MLP,
    RECIPES,
    SMALL,
    DeepSet,
    Inputs,
    ParticleNet,
    ParticleTransformer,
)
from difftune.objectives import LOG_VARIANCE, Link
from difftune.training import AnyNetwork, BoostedTrees, CrossFitted, Ensemble, TrainedNetwork

if TYPE_CHECKING:
    import onnx

OPSET = 13
"""Old enough for the ONNX Runtime of the experiments' releases."""

# Squared distance of what is no neighbour.
_FAR = np.float32(1e30)

# Activations that are one node of ONNX, with jax's constants.
_SINGLE: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "elu": ("Elu", {"alpha": 1.0}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "selu": ("Selu", {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}),
    "softplus": ("Softplus", {}),
    "tanh": ("Tanh", {}),
}


class _Graph:
    """Nodes and constants while they are put together."""

    def __init__(self, helper: Any, numpy_helper: Any):
        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any) -> str:
        name = f"constant_{len(self.constants)}"
        array = np.asarray(values)
        kind = {"i": np.int64, "b": np.bool_}.get(array.dtype.kind, np.float32)
        self.constants.append(self._numpy_helper.from_array(array.astype(kind), name))
        return name

    def several(self, kind: str, *inputs: str, count: int, **options: Any) -> tuple[str, ...]:
        """A node of several outputs."""
        outputs = [f"{kind.lower()}_{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(self._helper.make_node(kind, list(inputs), outputs, **options))
        return tuple(outputs)

    def __call__(self, kind: str, *inputs: str, output: str | None = None, **options: Any) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, list(inputs), [output], **options))
        return output


def to_onnx(network: AnyNetwork) -> "onnx.ModelProto":
    """A network with its feature transform, as one ONNX graph.

    Input `features` is float32 `[events, variables]`, raw, in the order of `feature_names`, NaN
    or what training called missing where a value is missing; output `score` is `[events]`, as
    `network.score` gives it. Predictions of targets are in their unit; several are
    `[events, predictions]`, with their names in the metadata. Cross-fitted networks are one graph,
    too, with a further input
    `event_number`, int64 `[events]`, which decides whose score an event gets; of a key of several
    columns it is `difftune.data.keys.key_of` of them.

    Args:
        network: A network made by a recipe of `difftune.models`, or several such: an ensemble, or
            those of all folds.

    Raises:
        InputError: When it is a module of your own or boosted trees, or onnx (the extra `export`)
            is missing.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ModuleNotFoundError:
        raise InputError("ONNX needs the extra 'export': pip install 'difftune[export]'.") from None
    graph = _Graph(helper, numpy_helper)
    variables = len(network.feature_names)
    said = () if isinstance(network, BoostedTrees) else network.predictions
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["events", variables])]
    if isinstance(network, CrossFitted):
        inputs.append(helper.make_tensor_value_info("event_number", TensorProto.INT64, ["events"]))
        each = [_decided(graph, own) for own in network.networks]
        fold = graph("Mod", "event_number", graph.constant(len(network.networks)))
        row = graph("Unsqueeze", fold, graph.constant([1]))
        columns = []
        for number in range(max(len(said), 1)):
            every = graph("Concat", *(_columns(graph, own, [number]) for own in each), axis=1)
            columns.append(graph("GatherElements", every, row, axis=1))
        score = columns[0] if len(columns) == 1 else graph("Concat", *columns, axis=1)
    else:
        score = _decided(graph, network)
    shape: list[str | int] = ["events"]
    if len(said) > 1:
        graph("Identity", score, output="score")
        shape.append(len(said))
    else:
        graph("Squeeze", score, graph.constant([1]), output="score")

    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "difftune",
            inputs,
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, shape)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="difftune",
    )
    facts = {"feature_names": ",".join(network.feature_names)}
    helper.set_model_props(made, facts | ({"predictions": ",".join(said)} if said else {}))
    checker.check_model(made)
    return made


def write_onnx(network: AnyNetwork, path: str | Path) -> None:
    """Writes `to_onnx(network)` to a file.

    Raises:
        InputError: As `to_onnx`, and when it cannot be written there.
    """
    content = to_onnx(network).SerializeToString()
    with writing(path, binary=True) as stream:
        stream.write(content)


def _decided(graph: _Graph, network: TrainedNetwork | Ensemble | BoostedTrees) -> str:
    """The score of a network, or the mean of several, `[events, 1]`; or its predictions."""
    if not isinstance(network, Ensemble):
        return _probability(graph, network)
    first = network.networks[0]
    if isinstance(first, TrainedNetwork) and first.link is not None:
        each = [_probability(graph, own) for own in network.networks]
        return _together(graph, each, network.shares, first.link)
    every = graph("Concat", *(_probability(graph, each) for each in network.networks), axis=1)
    return graph("MatMul", every, graph.constant(network.shares[:, None]))


def _probability(graph: _Graph, network: TrainedNetwork | BoostedTrees) -> str:
    """Signal probability, `[events, 1]`; or predictions, `[events, predictions]`."""
    if isinstance(network, BoostedTrees):
        raise InputError(
            f"only networks can be exported, and there are boosted trees of {network.library}: "
            "keep them with save(), and let the package's own converter write its model."
        )
    model = network.module_def.model
    if isinstance(model, DeepSet):
        logits = _deep_set(graph, network, model, _transformed(graph, network))
    elif isinstance(model, ParticleNet):
        logits = _graph_network(graph, network, model, _transformed(graph, network))
    elif isinstance(model, ParticleTransformer):
        logits = _attention(graph, network, model, _transformed(graph, network))
    elif isinstance(model, MLP):
        logits = _perceptron(graph, network, model, _transformed(graph, network))
    else:
        raise InputError(
            f"only networks of difftune.models ({', '.join(RECIPES)}) can be exported, not "
            f"{model!r}; for a module of your own use jax2onnx on its call."
        )
    if network.link is not None:
        if isinstance(model, MLP) and model.submodels > 1:
            logits = graph("ReduceMean", logits, axes=[0], keepdims=0)
        return _predicted(graph, network.link, logits)
    if isinstance(model, MLP) and model.submodels > 1:
        # The submodels are the first axis.
        if network.module_def.outputs == 1:
            return graph("ReduceMean", graph("Sigmoid", logits), axes=[0], keepdims=0)
        share = graph("ReduceMean", graph("Softmax", logits, axis=2), axes=[0], keepdims=0)
        return graph("MatMul", share, graph.constant(np.asarray(network.signal_process)[:, None]))
    if network.module_def.outputs == 1:
        return graph("Sigmoid", logits)
    signal = np.asarray(network.signal_process)[:, None]
    return graph("MatMul", graph("Softmax", logits, axis=1), graph.constant(signal))


def _columns(graph: _Graph, x: str, numbers: Any) -> str:
    """Some columns of `[events, columns]`."""
    return graph("Gather", x, graph.constant(np.asarray(numbers, int)), axis=1)


def _predicted(graph: _Graph, link: Link, outputs: str) -> str:
    """What `Link` makes of the outputs of a network."""
    kind, each = link.prediction, link.prediction.per_target
    center = np.repeat(np.asarray(link.transform.center), each)
    scale = np.repeat(np.asarray(link.transform.scale), each)

    def inverse(x: str, numbers: Any) -> str:
        result = graph("Mul", x, graph.constant(scale[numbers]))
        result = graph("Add", result, graph.constant(center[numbers]))
        return graph("Exp", result) if link.transform.log else result

    everything = np.arange(len(center))
    if kind.form == "quantiles":
        own = everything % each
        middle = graph.constant(own == kind.middle)
        # A quantile is the middle one and the steps between them, up or down.
        target = everything // each
        below, above = own[:, None], own[None, :]
        matrix = np.where(below == kind.middle, 1.0, 0.0)
        matrix = np.where((below > kind.middle) & (below <= above), 1.0, matrix)
        matrix = np.where((below < kind.middle) & (below >= above), -1.0, matrix)
        matrix = np.where(target[:, None] == target[None, :], matrix, 0.0)
        steps = graph("Where", middle, outputs, graph("Softplus", outputs))
        outputs = graph("MatMul", steps, graph.constant(matrix))
    if kind.form != "normal":
        return inverse(outputs, everything)
    mean, raw = (_columns(graph, outputs, everything[start::2]) for start in (0, 1))
    limits = (graph.constant(np.float32(way * LOG_VARIANCE)) for way in (-1, 1))
    half = graph("Mul", graph("Clip", raw, *limits), graph.constant(0.5))
    sigma = graph("Exp", half)
    numbers = everything[0::2]
    central, low, high = (
        inverse(x, numbers) for x in (mean, graph("Sub", mean, sigma), graph("Add", mean, sigma))
    )
    width = graph("Mul", graph("Sub", high, low), graph.constant(0.5))
    return _alternating(graph, central, width, len(numbers))


def _alternating(graph: _Graph, first: str, second: str, count: int) -> str:
    """Columns of both in turn, of which each has so many."""
    order = np.arange(2 * count).reshape(2, count).T.ravel()
    return _columns(graph, graph("Concat", first, second, axis=1), order)


def _together(graph: _Graph, each: list[str], shares: Any, link: Link) -> str:
    """What `Link.together` makes of the predictions of several networks."""

    def mean(columns: list[str]) -> str:
        parts = [
            graph("Mul", own, graph.constant(np.float32(share)))
            for own, share in zip(columns, shares, strict=True)
        ]
        return graph("Sum", *parts)

    if link.prediction.form != "normal":
        return mean(each)
    numbers = np.arange(len(link.names))
    central = [_columns(graph, own, numbers[0::2]) for own in each]
    sigma = [_columns(graph, own, numbers[1::2]) for own in each]
    middle, squares = mean(central), []
    for own, width in zip(central, sigma, strict=True):
        apart = graph("Sub", own, middle)
        squares.append(graph("Add", graph("Mul", width, width), graph("Mul", apart, apart)))
    return _alternating(graph, middle, graph("Sqrt", mean(squares)), len(numbers) // 2)


def _transformed(graph: _Graph, network: TrainedNetwork) -> str:
    """Missing values filled, scaled, indicators added."""
    transform = network.transform
    missing = graph("IsNaN", "features")
    for i in range(max(map(len, transform.sentinels), default=0)):
        row = [values[i] if i < len(values) else np.nan for values in transform.sentinels]
        missing = graph("Or", missing, graph("Equal", "features", graph.constant(row)))
    x = graph("Where", missing, graph.constant(transform.fill), "features")
    x = graph("Sub", x, graph.constant(transform.center))
    x = graph("Div", x, graph.constant(transform.scale))
    if transform.bend:
        x = graph("Clip", x, graph.constant(np.float32(-FAR)), graph.constant(np.float32(FAR)))
        share = graph("Div", x, graph.constant(transform.bend))
        square = graph("Add", graph.constant(1.0), graph("Mul", share, share))
        x = graph("Div", x, graph("Sqrt", square))
    masks = _objects(graph, transform, missing) if transform.collections else None
    if masks is not None:
        everything = graph("Concat", _ones(graph, masks), masks, axis=1)
        there = graph("Gather", everything, graph.constant(transform.object_of), axis=1)
        x = graph("Where", graph("Cast", there, to=9), x, graph.constant(np.zeros(1)))
    if transform.indicators:
        flags = graph("Cast", missing, to=1)
        chosen = graph("Gather", flags, graph.constant(list(transform.indicators)), axis=1)
        x = graph("Concat", x, chosen, axis=1)
    if masks is not None:
        x = graph("Concat", x, masks, axis=1)
    if transform.unused:
        used = graph("Cast", graph.constant(transform.used.astype(np.int64)), to=9)
        x = graph("Where", used, x, graph.constant(np.zeros(1)))
    return x


def _objects(graph: _Graph, transform: FeatureTransform, missing: str) -> str:
    """1 for each object that is there, 0 for others, `[events, objects]` of all collections."""
    absent = graph("Cast", missing, to=1)
    found = []
    for each in transform.collections:
        columns = graph.constant(np.arange(each.start, each.stop))
        block = graph("Gather", absent, columns, axis=1)
        shape = graph.constant([0, each.max, len(each.features)])
        # One value is enough for an object to be there.
        found.append(graph("ReduceMin", graph("Reshape", block, shape), axes=[2], keepdims=0))
    nothing = graph("Concat", *found, axis=1) if len(found) > 1 else found[0]
    return graph("Sub", graph.constant(1.0), nothing)


def _ones(graph: _Graph, columns: str) -> str:
    """A column of 1 for each event, of which there are as many as in other columns."""
    some = graph("Gather", columns, graph.constant([0]), axis=1)
    return graph("Add", graph("Mul", some, graph.constant(0.0)), graph.constant(1.0))


def _perceptron(graph: _Graph, network: TrainedNetwork, model: MLP, x: str) -> str:
    """The perceptron in evaluation mode, up to the logits."""
    state: Any = network.weights.parameters
    # What the member does not use of the largest network is left out.
    own = model.for_member(network.hyperparameters)
    fan_in = int(network.module_def.inputs)
    if model.embedding is not None:
        x = _periodic(graph, state["embedding"], model, x, fan_in)
        fan_in *= model.embedding_size
    buffers: Any = network.weights.buffers
    return _layers(graph, state, buffers, own, x, fan_in, network.module_def.outputs)


def _deep_set(graph: _Graph, network: TrainedNetwork, model: DeepSet, x: str) -> str:
    """A deep set in evaluation mode, up to the logits."""
    state: Any = network.weights.parameters
    buffers: Any = network.weights.buffers
    own, inputs = model.for_member(network.hyperparameters), network.module_def.inputs
    columns = [graph("Gather", x, graph.constant(inputs.flat_numbers), axis=1)]
    for number, each in enumerate(inputs.collections.values()):
        places = graph.constant(np.arange(each.start, each.stop))
        objects = graph("Gather", x, places, axis=1)
        # Objects of all events one below the other, for products of two matrices.
        objects = graph("Reshape", objects, graph.constant([-1, len(each.features)]))
        layers = (graph, state["each"][number], buffers, own.of_object, objects)
        latent = _layers(*layers, len(each.features), own.latent)
        latent = graph("Reshape", latent, graph.constant([-1, each.max, own.latent]))
        mask = graph(
            "Gather", x, graph.constant(np.arange(each.mask, each.mask + each.max)), axis=1
        )
        mask = graph("Unsqueeze", mask, graph.constant([2]))
        total = graph("Mul", latent, mask)
        columns.append(graph("ReduceSum", total, graph.constant([1]), keepdims=0))
    joined = graph("Concat", *columns, axis=1)
    units = inputs.flat + own.latent * len(inputs.collections)
    outputs = network.module_def.outputs
    return _layers(graph, state["all"], buffers, own.of_event, joined, units, outputs)


class _Joint:
    """Objects of all collections as one set, each a row, `[events, objects, units]`."""

    def __init__(self, graph: _Graph, network: TrainedNetwork, own: Any, x: str, width: int):
        self.graph, self.own, self.network = graph, own, network
        self.state: Any = network.weights.parameters
        self.buffers: Any = network.weights.buffers
        inputs: Inputs = network.module_def.inputs
        self.collections = list(inputs.collections.values())
        masks, self.objects, rows = [], [], []
        for number, each in enumerate(self.collections):
            masks.append(self.columns(x, np.arange(each.mask, each.mask + each.max)))
            flat = self.columns(x, np.arange(each.start, each.stop))
            shape = graph.constant([0, each.max, len(each.features)])
            self.objects.append(graph("Reshape", flat, shape))
            layer = self.state["embedding"][number]
            rows.append(_product(graph, layer, self.objects[-1], len(each.features), width))
        self.there = graph("Concat", *masks, axis=1)
        self.mask = graph("Unsqueeze", self.there, graph.constant([2]))
        self.rows = graph("Concat", *rows, axis=1)
        counts = [self.total(mask, 1, keep=True) for mask in masks]
        numbers = graph("Log", graph("Add", graph("Concat", *counts, axis=1), graph.constant(1.0)))
        self.flat = [self.columns(x, np.asarray(inputs.flat_numbers, int)), numbers]
        self.number = inputs.flat + len(counts)

    def columns(self, x: str, places: np.ndarray) -> str:
        return self.graph("Gather", x, self.graph.constant(places), axis=1)

    def total(self, x: str, axis: int, *, keep: bool = False) -> str:
        return self.graph("ReduceSum", x, self.graph.constant([axis]), keepdims=int(keep))

    def activated(self, x: str) -> str:
        return _activation(self.graph, str(self.own.activation), x)

    def as_read(self, name: str, numbers: Sequence[Sequence[int | None]]) -> str:
        """Features of all objects before the transform."""
        graph, buffers = self.graph, self.buffers[name]
        center, scale = (_numbers(buffers[each]) for each in ("center", "scale"))
        found = []
        for i, each in enumerate(self.collections):
            places = graph.constant(np.asarray([n or 0 for n in numbers[i]], int))
            x = graph("Gather", self.objects[i], places, axis=2)
            if each.bend:
                share = graph("Div", x, graph.constant(each.bend))
                left = graph("Sub", graph.constant(1.0), graph("Mul", share, share))
                x = graph("Div", x, graph("Sqrt", graph("Max", left, graph.constant(1e-6))))
            x = graph("Mul", x, graph.constant(scale[i]))
            found.append(graph("Add", x, graph.constant(center[i])))
        return graph("Concat", *found, axis=1)

    def pairs(self, x: str, kind: str = "Sub") -> str:
        """An operation on all pairs of objects, `[events, objects, objects, ...]`."""
        first = self.graph("Unsqueeze", x, self.graph.constant([2]))
        return self.graph(kind, first, self.graph("Unsqueeze", x, self.graph.constant([1])))

    def decided(self, latent: str, units: int) -> str:
        joined = self.graph("Concat", *self.flat, latent, axis=1)
        fan_in, outputs = self.number + units, self.network.module_def.outputs
        part = (self.state["all"], self.buffers, self.own.of_event, joined, fan_in, outputs)
        return _layers(self.graph, *part)


def _azimuths(graph: _Graph, apart: str) -> str:
    """Differences the short way round."""
    turns = graph("Round", graph("Mul", apart, graph.constant(0.5 / np.pi)))
    return graph("Sub", apart, graph("Mul", turns, graph.constant(2 * np.pi)))


def _graph_network(graph: _Graph, network: TrainedNetwork, model: ParticleNet, x: str) -> str:
    """A ParticleNet in evaluation mode, up to the logits."""
    own = model.for_member(network.hyperparameters)
    joint = _Joint(graph, network, own, x, own.widths[0])
    objects = sum(each.max for each in joint.collections)
    rows = graph("Mul", joint.activated(joint.rows), joint.mask)
    most = max(1, min(own.neighbours, objects - 1))
    # No object is its own neighbour, nor is one that is not there.
    no_other = graph(
        "Or",
        graph("Unsqueeze", graph("Not", graph("Cast", joint.there, to=9)), graph.constant([1])),
        graph.constant(np.eye(objects, dtype=bool)),
    )
    before = own.widths[0]
    for i, width in enumerate(own.widths):
        if i == 0 and own.coordinates:
            places = joint.as_read("coordinates", model.numbers(network.module_def.inputs))
            squares = []
            for j, name in enumerate(own.coordinates):
                place = graph(
                    "Squeeze",
                    graph("Gather", places, graph.constant([j]), axis=2),
                    graph.constant([2]),
                )
                apart = joint.pairs(place)
                apart = _azimuths(graph, apart) if name.lower() == AZIMUTH else apart
                squares.append(graph("Mul", apart, apart))
            squared = graph("Sum", *squares)
        else:
            squared = graph("ReduceSumSquare", joint.pairs(rows), axes=[3], keepdims=0)
        far = graph("Where", no_other, graph.constant(_FAR), squared)
        distance, index = graph.several(
            "TopK", far, graph.constant([most]), count=2, axis=2, largest=0
        )
        found = graph("Cast", graph("Less", distance, graph.constant(_FAR / 2)), to=1)
        number = graph("Max", joint.total(found, 2, keep=True), graph.constant(1.0))
        weight = graph("Unsqueeze", graph("Div", found, number), graph.constant([3]))
        layers = joint.state["blocks"][i]
        kernel = graph.constant(_numbers(layers["difference"]["kernel"])[:before, :width])
        of_others = graph("MatMul", rows, kernel)
        of_own = graph("Sub", _product(graph, layers["own"], rows, before, width), of_others)
        place = graph("Unsqueeze", index, graph.constant([3]))
        theirs = graph("GatherND", of_others, place, batch_dims=1)
        edges = graph("Add", graph("Unsqueeze", of_own, graph.constant([2])), theirs)
        edges = joint.activated(edges)
        for layer in (layers["more"][j] for j in range(model.layers - 1)):
            edges = joint.activated(_product(graph, layer, edges, width, width))
        mean = joint.total(graph("Mul", edges, weight), 2)
        new = graph("Add", mean, _product(graph, layers["past"], rows, before, width))
        if own.normalisation == "layer":
            new = _layer_norm(graph, layers["norm"], new, width)
        rows = graph("Mul", joint.activated(new), joint.mask)
        before = width
    number = graph("Max", joint.total(joint.there, 1, keep=True), graph.constant(1.0))
    return joint.decided(graph("Div", joint.total(rows, 1), number), before)


def _attention(graph: _Graph, network: TrainedNetwork, model: ParticleTransformer, x: str) -> str:
    """A Particle Transformer in evaluation mode, up to the logits."""
    own = model.for_member(network.hyperparameters)
    joint = _Joint(graph, network, own, x, own.width)
    objects = sum(each.max for each in joint.collections)
    state, width = joint.state, own.width
    here = graph("Cast", joint.there, to=9)
    absent = graph("Where", here, graph.constant(0.0), graph.constant(ABSENT))
    absent = graph("Unsqueeze", absent, graph.constant([1, 2]))
    bias = absent
    if own.pairs:
        numbers = model.numbers(network.module_def.inputs)
        features = _pair_features(graph, joint, numbers)
        others = graph.constant(1.0 - np.eye(objects)[..., None])
        layers = state["pairs"]
        hidden = _product(graph, layers[0], graph("Mul", features, others), 4, own.pairs)
        of_heads = _product(graph, layers[1], joint.activated(hidden), own.pairs, own.heads)
        bias = graph("Add", graph("Transpose", of_heads, perm=[0, 3, 1, 2]), absent)

    def heads(layer: Any, rows: str, number: int) -> str:
        inner = own.heads * own.head_size
        made = _product(graph, layer, rows, width, inner)
        shape = graph.constant([0, number, own.heads, own.head_size])
        return graph("Transpose", graph("Reshape", made, shape), perm=[0, 2, 1, 3])

    def block(layers: Any, asking: str, asked: str, bias: str, counts: tuple[int, int]) -> str:
        asks = _layer_norm(graph, layers["norms"][0], asking, width, epsilon=EPSILON)
        told = _layer_norm(graph, layers["norms"][0], asked, width, epsilon=EPSILON)
        query, key, value = (
            heads(layers[name], rows, number)
            for name, rows, number in (
                ("query", asks, counts[0]),
                ("key", told, counts[1]),
                ("value", told, counts[1]),
            )
        )
        logits = graph("MatMul", query, graph("Transpose", key, perm=[0, 1, 3, 2]))
        logits = graph("Mul", logits, graph.constant(1.0 / np.sqrt(own.head_size)))
        share = graph("Softmax", graph("Add", logits, bias), axis=3)
        heard = graph("Transpose", graph("MatMul", share, value), perm=[0, 2, 1, 3])
        shape = graph.constant([0, counts[0], own.heads * own.head_size])
        heard = graph("Reshape", heard, shape)
        heard = _product(graph, layers["out"], heard, own.heads * own.head_size, width)
        x = graph("Add", asking, heard)
        hidden = _layer_norm(graph, layers["norms"][1], x, width, epsilon=EPSILON)
        hidden = joint.activated(_product(graph, layers["up"], hidden, width, 2 * width))
        return graph("Add", x, _product(graph, layers["down"], hidden, 2 * width, width))

    rows = graph("Mul", joint.activated(joint.rows), joint.mask)
    for i in range(own.blocks):
        rows = block(state["blocks"][i], rows, rows, bias, (objects, objects))
    token = graph.constant(_numbers(state["token"]["kernel"])[None, :, :width])
    # One for each event, of which there are as many as in other columns.
    nothing = graph("Mul", _ones(graph, joint.there), graph.constant(0.0))
    token = graph("Add", graph("Unsqueeze", nothing, graph.constant([2])), token)
    everything = graph("Concat", token, rows, axis=1)
    nothing = graph("Unsqueeze", nothing, graph.constant([1, 2]))
    absent = graph("Concat", nothing, absent, axis=3)
    last = block(state["last"], token, everything, absent, (1, objects + 1))
    return joint.decided(graph("Squeeze", last, graph.constant([1])), width)


def _pair_features(graph: _Graph, joint: _Joint, numbers: Sequence[Sequence[int | None]]) -> str:
    """What `difftune.models.particle_transformer.pair_features` gives."""
    momenta = joint.as_read("momenta", numbers)
    unit = graph.constant(_numbers(joint.buffers["unit"]))

    def number(value: float) -> str:
        return graph.constant(np.float32(value))

    def part(place: int) -> str:
        column = graph("Gather", momenta, graph.constant([place]), axis=2)
        return graph("Squeeze", column, graph.constant([2]))

    def square(x: str) -> str:
        return graph("Mul", x, x)

    def first(x: str) -> str:
        return graph("Unsqueeze", x, graph.constant([2]))

    def second(x: str) -> str:
        return graph("Unsqueeze", x, graph.constant([1]))

    pt = graph("Max", graph("Div", part(0), unit), number(1e-6))
    mass = square(graph("Max", graph("Div", part(3), unit), number(0.0)))
    transverse = graph("Sqrt", graph("Add", square(pt), mass))
    steep = graph("Sinh", graph("Clip", part(1), number(-10.0), number(10.0)))
    rapidity = graph("Asinh", graph("Div", graph("Mul", pt, steep), transverse))
    y, phi = joint.pairs(rapidity), _azimuths(graph, joint.pairs(part(2)))
    squared = graph("Add", graph("Add", square(y), square(phi)), number(SMALL))
    distance = graph("Mul", graph("Log", squared), number(0.5))
    least = joint.pairs(pt, "Min")
    products = joint.pairs(pt, "Mul")
    both = joint.pairs(transverse, "Mul")
    heavy = graph(
        "Add",
        graph("Mul", first(mass), second(square(transverse))),
        graph("Mul", second(mass), first(square(pt))),
    )
    inner = graph(
        "Sum",
        graph(
            "Mul",
            graph("Mul", both, square(graph("Sinh", graph("Mul", y, number(0.5))))),
            number(2.0),
        ),
        graph(
            "Mul",
            graph("Mul", products, square(graph("Sin", graph("Mul", phi, number(0.5))))),
            number(2.0),
        ),
        graph("Div", heavy, graph("Add", both, products)),
    )
    mass_squared = graph("Add", joint.pairs(mass, "Add"), graph("Mul", inner, number(2.0)))
    logarithms = (
        distance,
        graph("Add", graph("Log", least), distance),
        graph("Log", graph("Div", least, joint.pairs(pt, "Add"))),
        graph("Log", graph("Add", mass_squared, number(SMALL))),
    )
    columns = [graph("Unsqueeze", each, graph.constant([3])) for each in logarithms]
    return graph("Concat", *columns, axis=3)


def _layers(
    graph: _Graph, state: Any, buffers: Any, own: MLP, x: str, fan_in: int, outputs: int
) -> str:
    """Hidden layers and the output of a member's own network.

    With submodels what comes out is `[submodels, events, outputs]`.
    """
    submodels = own.submodels
    if submodels > 1:
        x = graph("Unsqueeze", x, graph.constant([1]))
    for i, width in enumerate(own.hidden):
        if submodels > 1 and "input_scale" in state["linear"][i]:
            x = _adapted(graph, state["linear"][i], x, fan_in, width, submodels)
        elif submodels > 1:
            x = _product(graph, state["linear"][i], x, fan_in, width)
        else:
            x = _linear(graph, state["linear"][i], x, fan_in, width)
        if own.normalisation == "batch":
            x = _batch_norm(graph, state["norm"][i], buffers["norm"][i], x, width)
        elif own.normalisation == "layer":
            x = _layer_norm(graph, state["norm"][i], x, width)
        x = _activation(graph, str(own.activation), x)
        fan_in = width
    if submodels == 1:
        return _linear(graph, state["output"], x, fan_in, outputs)
    heads = graph.constant(_numbers(state["output"]["kernel"])[:, :fan_in])
    bias = graph.constant(_numbers(state["output"]["bias"]).reshape(submodels, 1, outputs))
    apart = graph("Transpose", x, perm=[1, 0, 2])
    return graph("Add", graph("MatMul", apart, heads), bias)


def _adapted(graph: _Graph, layer: Any, x: str, fan_in: int, width: int, submodels: int) -> str:
    """A layer whose matrix the submodels share, `[events, submodels, width]`."""

    def own(name: str, units: int) -> str:
        return graph.constant(_numbers(layer[name]).reshape(submodels, -1)[:, :units])

    x = graph("Mul", x, own("input_scale", fan_in))
    if "output_scale" not in layer:
        return _product(graph, layer, x, fan_in, width)
    x = graph("MatMul", x, graph.constant(_numbers(layer["kernel"])[:fan_in, :width]))
    return graph("Add", graph("Mul", x, own("output_scale", width)), own("bias", width))


def _product(graph: _Graph, layer: Any, x: str, fan_in: int, width: int) -> str:
    """A linear layer of rows or submodels."""
    x = graph("MatMul", x, graph.constant(_numbers(layer["kernel"])[:fan_in, :width]))
    if "bias" not in layer:
        return x
    return graph("Add", x, graph.constant(_numbers(layer["bias"])[:width]))


def _periodic(graph: _Graph, embedding: Any, model: MLP, x: str, inputs: int) -> str:
    """The periodic embedding, `[events, inputs * outputs]`."""
    size = model.embedding_size
    frequency = _numbers(embedding["frequency"]).reshape(inputs, 1, model.frequencies)
    # An input each: a column of events, to be multiplied by matrices of its own.
    column = graph("Unsqueeze", graph("Transpose", x, perm=[1, 0]), graph.constant([2]))
    angle = graph("Mul", column, graph.constant(2.0 * np.pi * frequency))
    waves = graph("Concat", graph("Cos", angle), graph("Sin", angle), axis=2)
    kernel = graph.constant(_numbers(embedding["kernel"]).swapaxes(1, 2))
    bias = graph.constant(_numbers(embedding["bias"]).reshape(inputs, 1, size))
    units = graph("Relu", graph("Add", graph("MatMul", waves, kernel), bias))
    side_by_side = graph("Transpose", units, perm=[1, 0, 2])
    return graph("Reshape", side_by_side, graph.constant([0, inputs * size]))


def _numbers(variable: Any) -> Float[np.ndarray, "..."]:
    return np.asarray(variable[...])


def _linear(graph: _Graph, layer: Any, x: str, fan_in: int, width: int) -> str:
    kernel = graph.constant(_numbers(layer["kernel"])[:fan_in, :width])
    return graph("Gemm", x, kernel, graph.constant(_numbers(layer["bias"])[:width]))


# flax adds this to the variance in both normalisations.
_EPSILON = {"batch": 1e-5, "layer": 1e-6}


def _batch_norm(graph: _Graph, layer: Any, statistics: Any, x: str, width: int) -> str:
    scale = _numbers(layer["scale"]) / np.sqrt(_numbers(statistics["var"]) + _EPSILON["batch"])
    shift = _numbers(layer["bias"]) - _numbers(statistics["mean"]) * scale
    scale, shift = scale[:width], shift[:width]
    return graph("Add", graph("Mul", x, graph.constant(scale)), graph.constant(shift))


def _layer_norm(
    graph: _Graph, layer: Any, x: str, width: int, *, epsilon: float = _EPSILON["layer"]
) -> str:
    centred = graph("Sub", x, graph("ReduceMean", x, axes=[-1]))
    variance = graph("ReduceMean", graph("Mul", centred, centred), axes=[-1])
    spread = graph("Sqrt", graph("Add", variance, graph.constant(epsilon)))
    scale, bias = (graph.constant(_numbers(layer[name])[:width]) for name in ("scale", "bias"))
    return graph("Add", graph("Mul", graph("Div", centred, spread), scale), bias)


def _activation(graph: _Graph, name: str, x: str) -> str:
    if name in _SINGLE:
        kind, options = _SINGLE[name]
        return graph(kind, x, **options)
    if name == "silu":
        return graph("Mul", x, graph("Sigmoid", x))
    # gelu by its approximation with a tanh, as jax has it by default (arXiv 1606.08415).
    cubic = graph("Mul", graph.constant(0.044715), graph("Mul", x, graph("Mul", x, x)))
    inner = graph("Mul", graph.constant(np.sqrt(2 / np.pi)), graph("Add", x, cubic))
    gate = graph("Add", graph.constant(1.0), graph("Tanh", inner))
    return graph("Mul", graph("Mul", graph.constant(0.5), x), gate)
