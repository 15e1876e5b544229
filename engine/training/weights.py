"""Which weights are trained, and copies of them: the old policy, the average, the model before training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from engine.errors import ConfigError

ADAPTER = "default"


def setup_lora(network: Any, targets: tuple[str, ...], *, rank: int, alpha: int | None, seed: int) -> bool:
    """Freeze the network and put a LoRA of `rank` on its `targets` (0: train all of it). What trains is float32.

    A new LoRA changes nothing until it is trained: one of its two factors starts at zero, the other is drawn by `seed`.
    A network that has one already, read or trained before, goes on from there; the result tells whether it does.
    Raises ConfigError when that one has another rank.
    """
    before = getattr(network, "peft_config", {}).get(ADAPTER)
    if before is not None and before.r != rank:
        raise ConfigError(
            f"The network has a LoRA of rank {before.r} already, but lora_rank is {rank}: use {before.r}."
        )
    network.requires_grad_(rank == 0)
    if before is not None:
        network.set_adapters(ADAPTER)
        network.enable_adapters()
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(f".lora_A.{ADAPTER}." in name or f".lora_B.{ADAPTER}." in name)
    elif rank:
        from peft import LoraConfig

        scale = rank if alpha is None else alpha
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network.add_adapter(LoraConfig(r=rank, lora_alpha=scale, target_modules=list(targets)), ADAPTER)
    for _, parameter in trainable(network):
        parameter.data = parameter.data.float()
    network.eval()
    return before is not None


def trainable(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]


def local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that this process holds; any other tensor as it is. They share their memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


WARM_UP = 10


def average_decay(updates: int, most: float) -> float:
    """The share of the average that stays at update number `updates` (from 1): n / (n + 10) after n others, at most
    `most`.

    The first update replaces the start, an untrained LoRA, which so has no weight in what is exported. Until `most` is
    reached, update j of n weighs about as (j / n)^9, so the average is of about the last tenth of the run. This is the
    warm-up of TensorFlow's `ExponentialMovingAverage`, (1 + n) / (10 + n), less the share that it leaves of the start;
    for averages by a power of the time see Karras et al., arXiv:2312.02696, sec. 3.1. Its only state is the number of
    updates, which every checkpoint has.
    """
    before = updates - 1
    return min(most, before / (before + WARM_UP))


class WeightCopy:
    """A copy of the weights that train, which can stand in for them for a while; of shards it holds shards."""

    def __init__(self, network: nn.Module) -> None:
        self._parameters = dict(trainable(network))
        self.values: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def blend(self, decay: float) -> None:
        """Move to the network's present weights: `decay` of the copy stays, 0 takes them as they are."""
        for name, value in self.values.items():
            local(value).lerp_(local(self._parameters[name].detach()), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network works with the copy inside the block. No gradients: they would be the copy's."""
        present = {name: parameter.data for name, parameter in self._parameters.items()}
        if any(isinstance(value, DTensor) for value in present.values()):
            present = {name: value.clone() for name, value in present.items()}
        try:
            self._put(self.values)
            with torch.no_grad():
                yield
        finally:
            self._put(present)

    def apply(self) -> None:
        """The network works with the copy from now on."""
        self._put(self.values)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        """Shards are gathered from their own memory, which therefore is written to."""
        for name, parameter in self._parameters.items():
            if isinstance(parameter, DTensor):
                local(parameter).copy_(local(values[name]))
            else:
                parameter.data = values[name]


@contextmanager
def simulated_first_update(network: nn.Module, rate: float, *, most: float, epsilon: float) -> Iterator[None]:
    """The weights are what Adam's first update at `rate` makes of their gradients inside the block: a step of `rate`
    against each one's sign, less where a gradient is near `epsilon`, once their norm is cut to `most` (0: it is not).
    Afterwards the weights are as before, and the gradients are gone."""
    before = WeightCopy(network)
    try:
        if most > 0:
            nn.utils.clip_grad_norm_([parameter for _, parameter in trainable(network)], most)
        with torch.no_grad():
            for _, parameter in trainable(network):
                if parameter.grad is not None:
                    step = parameter.grad / (parameter.grad.abs() + epsilon)
                    parameter.data = parameter.data - rate * step
        network.zero_grad(set_to_none=True)
        yield
    finally:
        before.apply()


class ReferencePolicy:
    """The base model by switching the adapter off, or, as a copy, the model with the weights that it has now."""

    def __init__(self, network: Any, *, copy: bool) -> None:
        self._network = network
        self._copy = WeightCopy(network) if copy else None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network is the reference inside the block, without gradients."""
        if self._copy is not None:
            with self._copy.applied():
                yield
            return
        self._network.disable_adapters()
        try:
            with torch.no_grad():
                yield
        finally:
            self._network.enable_adapters()
