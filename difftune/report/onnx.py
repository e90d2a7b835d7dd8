"""Export of a network as ONNX, for CMSSW, Athena and whatever else runs ONNX Runtime."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from difftune.data import FeatureTransform
from difftune.data.transform import FAR
from difftune.errors import InputError
from difftune.files import writing
from difftune.models import MLP, RECIPES, DeepSet, ParticleNet, ParticleTransformer
from difftune.objectives import LOG_VARIANCE, Link
from difftune.report.onnx_layers import Graph, dense, ones, periodic
from difftune.report.onnx_objects import attention, deep_set, graph_network
from difftune.training import AnyNetwork, BoostedTrees, CrossFitted, Ensemble, TrainedNetwork

if TYPE_CHECKING:
    import onnx

OPSET = 13
"""Old enough for the ONNX Runtime of the experiments' releases."""


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
    graph = Graph(helper, numpy_helper)
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


def _decided(graph: Graph, network: TrainedNetwork | Ensemble | BoostedTrees) -> str:
    """The score of a network, or the mean of several, `[events, 1]`; or its predictions."""
    if not isinstance(network, Ensemble):
        return _probability(graph, network)
    first = network.networks[0]
    if isinstance(first, TrainedNetwork) and first.link is not None:
        each = [_probability(graph, own) for own in network.networks]
        return _together(graph, each, network.shares, first.link)
    every = graph("Concat", *(_probability(graph, each) for each in network.networks), axis=1)
    return graph("MatMul", every, graph.constant(network.shares[:, None]))


def _probability(graph: Graph, network: TrainedNetwork | BoostedTrees) -> str:
    """Signal probability, `[events, 1]`; or predictions, `[events, predictions]`."""
    if isinstance(network, BoostedTrees):
        raise InputError(
            f"only networks can be exported, and there are boosted trees of {network.library}: "
            "keep them with save(), and let the package's own converter write its model."
        )
    model = network.module_def.model
    if isinstance(model, DeepSet):
        logits = deep_set(graph, network, model, _transformed(graph, network))
    elif isinstance(model, ParticleNet):
        logits = graph_network(graph, network, model, _transformed(graph, network))
    elif isinstance(model, ParticleTransformer):
        logits = attention(graph, network, model, _transformed(graph, network))
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


def _columns(graph: Graph, x: str, numbers: Any) -> str:
    """Some columns of `[events, columns]`."""
    return graph("Gather", x, graph.constant(np.asarray(numbers, int)), axis=1)


def _predicted(graph: Graph, link: Link, outputs: str) -> str:
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


def _alternating(graph: Graph, first: str, second: str, count: int) -> str:
    """Columns of both in turn, of which each has so many."""
    order = np.arange(2 * count).reshape(2, count).T.ravel()
    return _columns(graph, graph("Concat", first, second, axis=1), order)


def _together(graph: Graph, each: list[str], shares: Any, link: Link) -> str:
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


def _transformed(graph: Graph, network: TrainedNetwork) -> str:
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
        everything = graph("Concat", ones(graph, masks), masks, axis=1)
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


def _objects(graph: Graph, transform: FeatureTransform, missing: str) -> str:
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


def _perceptron(graph: Graph, network: TrainedNetwork, model: MLP, x: str) -> str:
    """The perceptron in evaluation mode, up to the logits."""
    state: Any = network.weights.parameters
    # What the member does not use of the largest network is left out.
    own = model.for_member(network.hyperparameters)
    fan_in = int(network.module_def.inputs)
    if model.embedding is not None:
        x = periodic(graph, state["embedding"], model, x, fan_in)
        fan_in *= model.embedding_size
    buffers: Any = network.weights.buffers
    return dense(graph, state, buffers, own, x, fan_in, network.module_def.outputs)
