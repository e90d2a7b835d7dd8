"""PyTorch in the competition: one model after the other, and `torch.func` over many at once.

Further, one training as an analyst would write it, for `benchmarks.peers.tuners`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.peers import contest, task


def batches(events: int, batch: int, device: str) -> list[tuple[Tensor, ...]]:
    """Contiguous slices of the events, which are in a random order: cheaper than random rows."""
    columns = map(torch.from_numpy, task.trained_columns(events, batch))
    return list(zip(*(a.to(device).split(min(batch, events)) for a in columns), strict=True))


def network(hidden: Sequence[int], *, inputs=task.INPUTS, dropout=None, seed=0) -> nn.Sequential:
    """Hidden layers of ReLU units, and one logit, with the start values of the task."""
    made: list[nn.Module] = []
    for kernel in task.start_weights((inputs, *hidden, 1), seed):
        if made:
            made += [nn.ReLU()] if dropout is None else [nn.ReLU(), nn.Dropout(dropout)]
        layer = nn.Linear(*kernel.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
            layer.bias.zero_()
        made.append(layer)
    return nn.Sequential(*made)


def make(*, form: str, members: int = 1, **options) -> Callable[[int], float]:
    """A contestant; it returns the mean loss of the last epoch.

    Forms of one model, trained as many epochs as there would be models after each other: `"eager"`,
    `"fused"` (one kernel for Adam), `"compiled loss"` (that, and the loss with its gradient
    compiled), `"compiled step"` (all is one compiled function, with Adam written by hand),
    `"graph"` (a fused step recorded as a CUDA graph). Forms of many `members` at once:
    `"torch.func eager"`, `"torch.func compiled"`. Options are `batch`, `events` and `device`.
    """
    if form.startswith("torch.func") or form == "compiled step":
        return functional(members=members, compiled="compiled" in form, **options)
    return one_by_one(form=form, **options)


def entropy(model: nn.Module) -> Callable[..., Tensor]:
    """Its loss on features, labels and weights."""
    return lambda x, y, w: binary_cross_entropy_with_logits(model(x)[:, 0], y, weight=w)


def stepping(loss_of: Callable[..., Tensor], optimizer: torch.optim.Optimizer) -> Callable:
    """An ordinary step; it returns the loss."""

    def step(*part: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(*part)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def epochs_of(step: Callable[..., Tensor], parts: Sequence) -> Callable[[int], float]:
    """An ordinary loop, which returns the mean loss of its last epoch."""

    def run(count: int) -> float:
        for _ in range(count):
            total = torch.zeros((), device=parts[0][0].device)
            for part in parts:
                total += step(*part)
        return float(total) / len(parts)

    return run


def one_by_one(*, form: str, batch: int, events: int, device="cpu") -> Callable[[int], float]:
    """An ordinary model, optimizer and loop."""
    parts, model = batches(events, batch, device), network(task.HIDDEN).to(device)
    adam = {"lr": task.LEARNING_RATE, "betas": (task.BETA1, task.BETA2), "eps": task.EPSILON}
    kind = {"fused": form != "eager", "capturable": form == "graph"}
    loss_of = entropy(model)
    if form == "compiled loss":
        loss_of = torch.compile(loss_of)
    step = stepping(loss_of, torch.optim.Adam(model.parameters(), **adam, **kind))
    return epochs_of(recorded(step, parts[0]) if form == "graph" else step, parts)


def recorded(step: Callable[..., Tensor], part: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """The step as a CUDA graph, which is replayed on the events that are copied into its inputs."""
    held = tuple(column.clone() for column in part)
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step(*held)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(*held)

    def replay(*part: Tensor) -> Tensor:
        for column, new in zip(held, part, strict=True):
            column.copy_(new)
        graph.replay()
        return loss

    return replay


def functional(
    *, members: int, compiled: bool, batch: int, events: int, device="cpu"
) -> Callable[[int], float]:
    """`torch.func.vmap` of the gradient over stacked models, and Adam by hand.

    Each model has its own learning rate. One model alone is not mapped.
    """
    parts = batches(events, batch, device)
    models = [network(task.HIDDEN, seed=seed).to(device) for seed in range(members)]
    stacked, _ = stack_module_state(models)
    skeleton, single = network(task.HIDDEN).to("meta"), members == 1
    parameters = {name: (p[0] if single else p).detach() for name, p in stacked.items()}
    rates = {
        name: torch.full((members,) + (1,) * (p.ndim - 1), task.LEARNING_RATE, device=device)
        for name, p in parameters.items()
    }
    first, second = ({n: torch.zeros_like(p) for n, p in parameters.items()} for _ in range(2))

    def loss_of(own: dict[str, Tensor], x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        logits = functional_call(skeleton, own, (x,))[:, 0]
        return binary_cross_entropy_with_logits(logits, y, weight=w)

    gradient_of = grad_and_value(loss_of)
    if not single:
        gradient_of = vmap(gradient_of, in_dims=(0, None, None, None))

    def step(number: Tensor, total: Tensor, x: Tensor, y: Tensor, w: Tensor) -> None:
        gradients, loss = gradient_of(parameters, x, y, w)
        number.add_(1.0)
        scale = (1.0 - task.BETA2**number).sqrt()
        for name, g in gradients.items():
            first[name].mul_(task.BETA1).add_(g, alpha=1.0 - task.BETA1)
            second[name].mul_(task.BETA2).addcmul_(g, g, value=1.0 - task.BETA2)
            size = (second[name].sqrt() / scale).add_(task.EPSILON)
            step_size = rates[name] / (1.0 - task.BETA1**number)
            parameters[name].sub_(step_size * first[name] / size)
        total.add_(loss.mean())

    if compiled:
        step = torch.compile(step)
    number = torch.zeros((), device=device)

    def run(count: int) -> float:
        with torch.no_grad():
            for _ in range(count):
                total = torch.zeros((), device=device)
                for part in parts:
                    step(number, total, *part)
        return float(total) / len(parts)

    return run


@cache
def tensors(sample: str) -> tuple[Tensor, ...]:
    """Features, labels and weights of the training events, features of the validation events."""
    train, validation = contest.events(sample)
    label = train.label.astype(np.float32)
    columns = (train.features, label, train.training_weight, validation.features)
    return tuple(map(torch.from_numpy, columns))


class Training:
    """A network and its optimizer (fused Adam) between two epochs; from another's state perhaps."""

    def __init__(
        self, order: contest.Order, values: Mapping[str, float], state: Mapping | None = None
    ):
        self.order, self.values = order, values
        features, label, balanced, self.others = tensors(order.sample)
        own = {"dropout": values["dropout"], "seed": int(torch.randint(2**31, ()))}
        self.model = network(order.hidden, inputs=features.shape[1], **own)
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        # After the state, which has those of the training before.
        own = {"lr": values["learning_rate"], "betas": (values["beta1"], 0.999)}
        self.optimizer.param_groups[0].update(own)
        self.linear = [layer for layer in self.model if isinstance(layer, nn.Linear)]
        self.kernels = [layer.weight for layer in self.linear]
        smoothing = values["label_smoothing"]
        smooth = label * (1.0 - smoothing) + 0.5 * smoothing
        weight = torch.where(label == 1.0, balanced * values["signal_weight"], balanced)
        self.columns = (features, smooth, weight)

    @property
    def state(self) -> dict:
        """What another training can go on from."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def epoch(self) -> float:
        """Trains for an epoch, keeps the network if it is the best; its validation score."""
        self.model.train()
        count, size = len(self.columns[0]), min(self.order.batch, len(self.columns[0]))
        # One gather an epoch, and then slices, is cheaper than random rows for each batch.
        rows = torch.randperm(count)[: count // size * size]
        for x, y, w in zip(*(column[rows].split(size) for column in self.columns), strict=True):
            self.optimizer.zero_grad(set_to_none=True)
            binary_cross_entropy_with_logits(self.model(x)[:, 0], y, weight=w).backward()
            self._penalise()
            self.optimizer.step()
        self.model.eval()
        with torch.no_grad():
            score = torch.sigmoid(self.model(self.others)[:, 0]).numpy()
        found = contest.significance(score, contest.events(self.order.sample)[1])
        parts = (part for layer in self.linear for part in (layer.bias, layer.weight.T))
        # Views of the parameters: only what is kept is copied.
        layers = [part.detach().numpy() for part in parts]
        contest.keep(self.order.folder, contest.Network(found, layers, found))
        contest.note(self.order.folder, 1)
        return found

    @torch.no_grad()
    def _penalise(self) -> None:
        """Adds the gradient of `l1 Σ|w| + l2 Σw²` over weight matrices: two calls for all."""
        gradients = [kernel.grad for kernel in self.kernels]
        signs = torch._foreach_sign(self.kernels)
        torch._foreach_add_(gradients, signs, alpha=self.values["l1"])
        torch._foreach_add_(gradients, self.kernels, alpha=2.0 * self.values["l2"])
