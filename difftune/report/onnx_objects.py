"""Networks on objects as nodes of an ONNX graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from difftune.models import (
    ABSENT,
    AZIMUTH,
    EPSILON,
    SMALL,
    DeepSet,
    Inputs,
    ParticleNet,
    ParticleTransformer,
)
from difftune.report.onnx_layers import (
    Graph,
    activation,
    dense,
    layer_norm,
    numbers_of,
    ones,
    product,
)
from difftune.training import TrainedNetwork

# Squared distance of what is no neighbour.
_FAR = np.float32(1e30)


def deep_set(graph: Graph, network: TrainedNetwork, model: DeepSet, x: str) -> str:
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
        latent = dense(*layers, len(each.features), own.latent)
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
    return dense(graph, state["all"], buffers, own.of_event, joined, units, outputs)


class _Joint:
    """Objects of all collections as one set, each a row, `[events, objects, units]`."""

    def __init__(self, graph: Graph, network: TrainedNetwork, own: Any, x: str, width: int):
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
            rows.append(product(graph, layer, self.objects[-1], len(each.features), width))
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
        return activation(self.graph, str(self.own.activation), x)

    def as_read(self, name: str, numbers: Sequence[Sequence[int | None]]) -> str:
        """Features of all objects before the transform."""
        graph, buffers = self.graph, self.buffers[name]
        center, scale = (numbers_of(buffers[each]) for each in ("center", "scale"))
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
        return dense(self.graph, *part)


def _azimuths(graph: Graph, apart: str) -> str:
    """Differences the short way round."""
    turns = graph("Round", graph("Mul", apart, graph.constant(0.5 / np.pi)))
    return graph("Sub", apart, graph("Mul", turns, graph.constant(2 * np.pi)))


def graph_network(graph: Graph, network: TrainedNetwork, model: ParticleNet, x: str) -> str:
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
        kernel = graph.constant(numbers_of(layers["difference"]["kernel"])[:before, :width])
        of_others = graph("MatMul", rows, kernel)
        of_own = graph("Sub", product(graph, layers["own"], rows, before, width), of_others)
        place = graph("Unsqueeze", index, graph.constant([3]))
        theirs = graph("GatherND", of_others, place, batch_dims=1)
        edges = graph("Add", graph("Unsqueeze", of_own, graph.constant([2])), theirs)
        edges = joint.activated(edges)
        for layer in (layers["more"][j] for j in range(model.layers - 1)):
            edges = joint.activated(product(graph, layer, edges, width, width))
        mean = joint.total(graph("Mul", edges, weight), 2)
        new = graph("Add", mean, product(graph, layers["past"], rows, before, width))
        if own.normalisation == "layer":
            new = layer_norm(graph, layers["norm"], new, width)
        rows = graph("Mul", joint.activated(new), joint.mask)
        before = width
    number = graph("Max", joint.total(joint.there, 1, keep=True), graph.constant(1.0))
    return joint.decided(graph("Div", joint.total(rows, 1), number), before)


def attention(graph: Graph, network: TrainedNetwork, model: ParticleTransformer, x: str) -> str:
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
        hidden = product(graph, layers[0], graph("Mul", features, others), 4, own.pairs)
        of_heads = product(graph, layers[1], joint.activated(hidden), own.pairs, own.heads)
        bias = graph("Add", graph("Transpose", of_heads, perm=[0, 3, 1, 2]), absent)

    def heads(layer: Any, rows: str, number: int) -> str:
        inner = own.heads * own.head_size
        made = product(graph, layer, rows, width, inner)
        shape = graph.constant([0, number, own.heads, own.head_size])
        return graph("Transpose", graph("Reshape", made, shape), perm=[0, 2, 1, 3])

    def block(layers: Any, asking: str, asked: str, bias: str, counts: tuple[int, int]) -> str:
        asks = layer_norm(graph, layers["norms"][0], asking, width, epsilon=EPSILON)
        told = layer_norm(graph, layers["norms"][0], asked, width, epsilon=EPSILON)
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
        heard = product(graph, layers["out"], heard, own.heads * own.head_size, width)
        x = graph("Add", asking, heard)
        hidden = layer_norm(graph, layers["norms"][1], x, width, epsilon=EPSILON)
        hidden = joint.activated(product(graph, layers["up"], hidden, width, 2 * width))
        return graph("Add", x, product(graph, layers["down"], hidden, 2 * width, width))

    rows = graph("Mul", joint.activated(joint.rows), joint.mask)
    for i in range(own.blocks):
        rows = block(state["blocks"][i], rows, rows, bias, (objects, objects))
    token = graph.constant(numbers_of(state["token"]["kernel"])[None, :, :width])
    # One for each event, of which there are as many as in other columns.
    nothing = graph("Mul", ones(graph, joint.there), graph.constant(0.0))
    token = graph("Add", graph("Unsqueeze", nothing, graph.constant([2])), token)
    everything = graph("Concat", token, rows, axis=1)
    nothing = graph("Unsqueeze", nothing, graph.constant([1, 2]))
    absent = graph("Concat", nothing, absent, axis=3)
    last = block(state["last"], token, everything, absent, (1, objects + 1))
    return joint.decided(graph("Squeeze", last, graph.constant([1])), width)


def _pair_features(graph: Graph, joint: _Joint, numbers: Sequence[Sequence[int | None]]) -> str:
    """What `difftune.models.particle_transformer.pair_features` gives."""
    momenta = joint.as_read("momenta", numbers)
    unit = graph.constant(numbers_of(joint.buffers["unit"]))

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
