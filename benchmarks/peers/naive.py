"""The obvious way to train a population in JAX: `jax.vmap` over members of a masked optax step.

Every hyperparameter that the engine of difftune offers is there, as a mask or a `where`, computed
for every member; dropout draws its bits with threefry. An epoch is one compiled scan, as whoever
cares about speed would write it. It is spared what difftune does besides: validation, and with it
the reduction of the learning rate on a plateau. A smaller batch is a mask over the largest.
"""

from collections.abc import Callable, Mapping
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.peers import task
from difftune.training.optimizers import rate_factor

Own = Mapping[str, jax.Array]


class Network(nn.Module):
    """Two hidden layers with dropout, events first."""

    @nn.compact
    def __call__(self, x, own, key):
        """Logits."""
        for number, width in enumerate(task.HIDDEN, start=1):
            y = nn.Dense(width)(x)
            kinds = [getattr(jax.nn, name)(y) for name in task.ACTIVATIONS]
            y = jnp.select([own["activation"] == i for i in range(len(kinds))], kinds)
            y = jnp.where(jnp.arange(width) < own[f"width_{number}"], y, 0.0)
            rate = own["dropout"]
            keep = jax.random.bernoulli(jax.random.fold_in(key, number), 1.0 - rate, y.shape)
            y = jnp.where(keep, y / (1.0 - rate), 0.0)
            # A layer beyond the depth hands its input on.
            x = y if number == 1 else jnp.where(number <= own["depth"], y, x)
        return nn.Dense(1)(x)[:, 0]


def rules(own: Own) -> list[optax.GradientTransformation]:
    """The optimizers with one member's constants, in the order of `task.OPTIMIZERS`."""
    matrices = partial(jax.tree.map, lambda leaf: leaf.ndim >= 2)
    adam = optax.scale_by_adam(b1=own["beta1"], b2=own["beta2"], eps=own["epsilon"])
    decay = optax.add_decayed_weights(own["weight_decay"], mask=matrices)
    momentum = optax.trace(decay=own["momentum"])
    rms = optax.scale_by_rms(decay=own["rms_decay"], eps=own["epsilon"])
    return [adam, optax.chain(adam, decay), momentum, rms]


def make(*, values: dict, members: int, batch: int, events: int) -> Callable[[int], float]:
    """Epochs of a population; returns the mean loss of the last of them."""
    full = {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}
    network, data = Network(), task.events(events)
    size, steps = min(batch, events), task.batches(events, batch)

    def init(own, key):
        parameters = network.init(key, jnp.zeros((1, task.INPUTS)), own, key)
        return parameters, [rule.init(parameters) for rule in rules(own)], jnp.bool_(True)

    def loss_of(parameters, own, key, x, y, w):
        logits = network.apply(parameters, x, own, key)
        target = y * (1.0 - own["label_smoothing"]) + 0.5 * own["label_smoothing"]
        share = jnp.where(jnp.arange(size) < own["batch_size"], 1.0, 0.0)
        weight = w * share * jnp.where(y == 1, own["signal_weight"], 1.0)
        losses = weight * optax.sigmoid_binary_cross_entropy(logits, target)
        loss = losses.sum() / share.sum()
        kernels = [leaf for leaf in jax.tree.leaves(parameters) if leaf.ndim == 2]
        l1 = sum(jnp.abs(kernel).sum() for kernel in kernels)
        l2 = sum(jnp.square(kernel).sum() for kernel in kernels)
        return loss + own["l1"] * l1 + own["l2"] * l2, loss

    def step(member, own, key, done, x, y, w):
        parameters, states, running = member
        (total, loss), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            parameters, own, key, x, y, w
        )
        norm = optax.global_norm(gradient)
        factor = jnp.where(norm > own["gradient_clip"], own["gradient_clip"] / norm, 1.0)
        gradient = jax.tree.map(lambda leaf: factor * leaf, gradient)
        pairs = [
            rule.update(gradient, state, parameters)
            for rule, state in zip(rules(own), states, strict=True)
        ]
        chosen = [own["optimizer"] == i for i in range(len(pairs))]
        rate = own["learning_rate"] * rate_factor(own, done)
        updates = jax.tree.map(
            lambda *kinds: -rate * jnp.select(chosen, kinds), *(pair[0] for pair in pairs)
        )
        finite = jnp.isfinite(total) & jnp.all(
            jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(updates)])
        )
        go = running & finite
        new = (optax.apply_updates(parameters, updates), [pair[1] for pair in pairs])
        kept = jax.tree.map(partial(jnp.where, go), new, (parameters, states))
        return (*kept, go), loss

    def epoch(population, full, keys, batches):
        def body(carry, batch):
            population, number = carry
            own_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
            done = number / steps / 100.0
            population, loss = jax.vmap(step, in_axes=(0, 0, 0, None, None, None, None))(
                population, full, own_keys, done, *batch
            )
            return (population, number + 1), loss

        (population, _), losses = jax.lax.scan(body, (population, 0), batches)
        return population, losses.mean()

    # Members are shared out over as many devices as divide them.
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if members % n == 0)
    mesh = Mesh(np.asarray(devices[:count]), ("member",))
    shards = NamedSharding(mesh, PartitionSpec("member"))
    keys = jax.random.split(jax.random.key(0), members)
    keys, full = jax.device_put((keys, full), shards)
    state = jax.jit(jax.vmap(init), out_shardings=shards)(full, keys)
    train = jax.jit(epoch, donate_argnums=0, out_shardings=(shards, None))
    used = (data.features, data.label, data.training_weight)
    done = 0

    def run(count: int) -> float:
        nonlocal state, done
        for _ in range(count):
            order = np.random.default_rng(done).permutation(events)[: steps * size]
            stacked = [a[order].reshape(steps, size, *a.shape[1:]) for a in used]
            own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, done)
            state, loss = train(state, full, jax.device_put(own, shards), stacked)
            done += 1
        return float(loss)

    return run
