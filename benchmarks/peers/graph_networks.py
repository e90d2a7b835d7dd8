"""The same ParticleNet in difftune, as a population, and in PyTorch, one model after the other."""

from collections.abc import Callable

import numpy as np

from benchmarks.peers import task

FEATURES = ("eta", "phi", "pt", "a", "b", "c")
HIDDEN = 64


def jets(events: int, places: int) -> np.ndarray:
    """How many objects events have, of which few have many, as jets of events do."""
    draw = np.random.default_rng(1)
    return np.clip(draw.geometric(4 / places, events) + places // 8, 1, places)


def objects(
    events: int, places: int, numbers: str | int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects `[events, places, features]`, where there are some, and labels.

    Their number is that of `jets`, or one for all events, or half of the places and more.
    """
    draw = np.random.default_rng(0)
    counts = draw.integers(places // 2, places + 1, events)
    if numbers is not None:
        counts = jets(events, places) if numbers == "jets" else np.full(events, numbers)
    mask = np.arange(places) < counts[:, None]
    label = draw.random(events) < 0.5
    values = draw.normal(size=(events, places, len(FEATURES))) + 0.3 * label[:, None, None]
    return (values * mask[..., None]).astype("f4"), mask.astype("f4"), label


def make(*, who: str, **options) -> Callable[[int], float]:
    """A contestant, which returns the mean loss of the last epoch of a member or model."""
    return {"difftune": population, "pytorch": one_by_one}[who](**options)


def population(
    *, members: int, events: int, batch: int, places: int, numbers: str | int | None = None, **model
) -> Callable[[int], float]:
    """Epochs of a population of difftune; `model` are the options of `one_by_one`."""
    import difftune as dt
    from benchmarks.common import samples
    from benchmarks.peers.ours import epochs_of
    from difftune.models import Inputs, ObjectInputs
    from difftune.training import Population

    values, mask, label = objects(events, places, numbers)
    rows = np.concatenate([values.reshape(events, -1), mask], axis=1)
    stop = places * len(FEATURES)
    jets = ObjectInputs(features=FEATURES, max=places, start=0, mask=stop)
    columns = samples.columns(
        rows, label, np.ones(events, "f4"), layout=Inputs(rows.shape[1], {"jets": jets})
    )
    widths, neighbours = (model["width"],) * model["blocks"], model["neighbours"]
    net = dt.models.ParticleNet(widths=widths, neighbours=neighbours, hidden=(HIDDEN,))
    trains = Population(
        recipe=samples.every_epoch(model=net, batch_size=batch, patience=1_000_000),
        train=columns,
        validation=samples.columns(
            rows[:256], label[:256], np.ones(256, "f4"), layout=columns.layout
        ),
        members=members,
    )
    return epochs_of(trains, {"learning_rate": [task.LEARNING_RATE] * members})


def one_by_one(
    *, events: int, batch: int, places: int, width: int, blocks: int, neighbours: int
) -> Callable[[int], float]:
    """An ordinary model, optimizer and loop."""
    import torch
    from torch import Tensor, nn

    from benchmarks.peers import pytorch

    itself = torch.eye(places, dtype=torch.bool)

    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.edges = nn.Sequential(
                *(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            )
            self.past = nn.Linear(width, width)

        def forward(self, x: Tensor, squared: Tensor, mask: Tensor) -> Tensor:
            far = squared.masked_fill((mask[:, None, :] == 0) | itself, 1e9)
            distance, index = far.topk(neighbours, dim=-1, largest=False)
            found = (distance < 1e8).float()[..., None]
            place = index[..., None].expand(-1, -1, -1, width)
            theirs = x[:, None].expand(-1, places, -1, -1).gather(2, place)
            own = x[:, :, None].expand_as(theirs)
            edges = self.edges(torch.cat([own, theirs - own], dim=-1))
            mean = (edges * found).sum(2) / found.sum(2).clamp(min=1)
            return torch.relu(mean + self.past(x)) * mask[..., None]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(len(FEATURES), width)
            self.blocks = nn.ModuleList([Convolution() for _ in range(blocks)])
            self.last = nn.Sequential(
                *(nn.Linear(width + 1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
            )

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            with torch.no_grad():
                apart = x[:, :, None, :2] - x[:, None, :, :2]
                turns = torch.round(apart[..., 1] / (2 * torch.pi))
                squared = apart[..., 0] ** 2 + (apart[..., 1] - 2 * torch.pi * turns) ** 2
            x = torch.relu(self.first(x)) * mask[..., None]
            for i, block in enumerate(self.blocks):
                if i:
                    with torch.no_grad():
                        squared = torch.cdist(x, x)
                x = block(x, squared, mask)
            number = mask.sum(1, keepdim=True)
            return self.last(torch.cat([number.log1p(), x.sum(1) / number], dim=-1))[:, 0]

    def loss_of(x: Tensor, there: Tensor, y: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(model(x, there), y)

    values, mask, label = objects(events, places)
    columns = [torch.from_numpy(each) for each in (values, mask, label.astype("f4"))]
    parts = list(zip(*(each.split(batch) for each in columns), strict=True))
    torch.manual_seed(0)
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), lr=task.LEARNING_RATE, fused=True)
    return pytorch.epochs_of(pytorch.stepping(loss_of, optimizer), parts)
