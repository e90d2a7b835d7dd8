"""One training in PyTorch as an analyst would write it, for `benchmarks.peers.tuners`."""

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.peers import contest, pytorch
from benchmarks.peers.contest import Network


@cache
def tensors(sample: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, labels and weights of the training events, features of the validation events."""
    train, validation = contest.events(sample)
    columns = (train.features, train.label.astype(np.float32), train.balanced, validation.features)
    features, label, balanced, other = map(torch.from_numpy, columns)
    return features, label, balanced, other


class Training:
    """A network and its optimizer (fused Adam) between two epochs; from another's state perhaps."""

    def __init__(
        self, order: contest.Order, values: Mapping[str, float], state: Mapping | None = None
    ):
        self.order, self.values = order, values
        features, label, balanced, self.others = tensors(order.sample)
        seed = int(torch.randint(2**31, ()))
        self.model = pytorch.network(
            order.hidden, inputs=features.shape[1], dropout=True, seed=seed
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        own = {"lr": values["learning_rate"], "betas": (values["beta1"], 0.999)}
        pytorch.set_hyperparameters(self.model, self.optimizer, values["dropout"], **own)
        self.linear = pytorch.parts_of(self.model, nn.Linear)
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
        self._pass()
        self.model.eval()
        with torch.no_grad():
            score = torch.sigmoid(self.model(self.others)[:, 0]).numpy()
        found = contest.significance(score, contest.events(self.order.sample)[1])
        if contest.better(self.order.folder, found):
            parts = [part for layer in self.linear for part in (layer.weight.T, layer.bias)]
            layers = [part.detach().numpy().copy() for part in parts]
            contest.keep(self.order.folder, Network(found, layers, found))
        contest.note(self.order.folder, 1)
        return found

    def _pass(self) -> None:
        self.model.train()
        count, size = len(self.columns[0]), min(self.order.batch, len(self.columns[0]))
        # One gather an epoch, and then slices, is cheaper than random rows for each batch.
        rows = torch.randperm(count)[: count // size * size]
        for x, y, w in zip(*(column[rows].split(size) for column in self.columns), strict=True):
            self.optimizer.zero_grad(set_to_none=True)
            binary_cross_entropy_with_logits(self.model(x)[:, 0], y, weight=w).backward()
            self._penalise()
            self.optimizer.step()

    @torch.no_grad()
    def _penalise(self) -> None:
        """Adds the gradient of `l1 Σ|w| + l2 Σw²` over weight matrices: two calls for all."""
        gradients = [kernel.grad for kernel in self.kernels]
        signs = torch._foreach_sign(self.kernels)
        torch._foreach_add_(gradients, signs, alpha=self.values["l1"])
        torch._foreach_add_(gradients, self.kernels, alpha=2.0 * self.values["l2"])
