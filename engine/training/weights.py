"""The trained weights and copies of them: the old policy, the average, the model before training."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from engine.errors import ConfigError
from engine.families.lora import several_adapters
from rewards.errors import did_you_mean

ADAPTER, FROZEN, CRITIC = "default", "frozen", "critic"
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # those that a LoRA can be added to
MOST_RANK = 4096
IN_BLOCK = re.compile(r"^.*(blocks|modules|attentions|resnets|samplers)\.\d+\.")  # what the names in a block begin with


def setup_lora(
    network: Any,
    targets: tuple[str, ...],
    *,
    rank: int,
    alpha: int | None,
    seed: int,
    chosen: str | None = None,
    frozen_scale: float = 1.0,
) -> bool:
    """Freeze the network and add a LoRA of `rank` to its `targets` (0: train all weights).

    `chosen` replaces the targets: ends of layers' names, each with its own rank after "=" if it has one. The factor
    alpha / rank is the same for every layer.

    Trained weights are float32.

    An adapter `FROZEN` that the network already has stays active, with its scale and without gradients.

    A new LoRA has no effect before training: one of its factors starts at zero, the other is drawn with `seed`. A LoRA
    that the network already has is kept. Returns whether it had one. Raises ConfigError when its rank differs, or with
    `chosen` layers for it or unknown ones.
    """
    before = getattr(network, "peft_config", {}).get(ADAPTER)
    if before is not None and before.r != rank:
        raise ConfigError(
            f"The network has a LoRA of rank {before.r} already, but lora_rank is {rank}: use {before.r}."
        )
    if before is not None and chosen is not None:
        raise ConfigError("The run begins with a LoRA, which keeps its layers: leave lora_targets out.")
    ranks = dict.fromkeys(targets, rank) if chosen is None else _chosen_ranks(network, chosen, rank)
    network.requires_grad_(rank == 0)
    if before is None and rank:
        from peft import LoraConfig

        scale = rank if alpha is None else alpha
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            others = {name: own for name, own in ranks.items() if own != rank}
            config = LoraConfig(
                r=rank,
                lora_alpha=scale,
                target_modules=list(ranks),
                rank_pattern=others,
                alpha_pattern={name: scale * own / rank for name, own in others.items()},
            )
            with several_adapters():
                network.add_adapter(config, ADAPTER)
    if rank:
        beneath = {FROZEN: frozen_scale} if FROZEN in network.peft_config else {}
        network.set_adapters([*beneath, ADAPTER], [*beneath.values(), 1.0])
        network.enable_adapters()
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(f".lora_A.{ADAPTER}." in name or f".lora_B.{ADAPTER}." in name)
    for _, parameter in trainable(network):
        parameter.data = parameter.data.float()
    network.eval()
    return before is not None


def _chosen_ranks(network: nn.Module, chosen: str, rank: int) -> dict[str, int]:
    """Return the rank of each chosen end of a name.

    Raises ConfigError for an end that no layer has, or a bad rank.
    """
    layers = [name for name, module in network.named_modules() if isinstance(module, LAYERS)]
    ranks: dict[str, int] = {}
    for word in chosen.replace(",", " ").split():
        name, equals, own = word.partition("=")
        if not any(layer == name or layer.endswith(f".{name}") for layer in layers):
            ends = {IN_BLOCK.sub("", layer) for layer in layers}
            ends |= {end.rpartition(".")[2] for end in ends if not end[-1].isdigit()}
            raise ConfigError(
                f"lora_targets names '{name[:80]}', which no layer of the network ends with. {did_you_mean(name, ends)}"
            )
        if equals and not (own.isascii() and own.isdigit() and 1 <= int(own[:9]) <= MOST_RANK):
            raise ConfigError(
                f"lora_targets gives '{name}' the rank '{own[:20]}': use a number from 1 to {MOST_RANK:,}."
            )
        ranks[name] = int(own) if own else rank
    if not ranks:
        raise ConfigError("lora_targets names no layer: give the ends of their names, or leave it out.")
    return ranks


def trainable(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a sharded tensor, or the tensor itself. The result shares its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


WARM_UP = 10


def average_decay(updates: int, most: float) -> float:
    """Return the average's decay at update `updates` (from 1): n / (n + 10) after n others, <= `most`.

    The first update replaces the initial weights, an untrained LoRA, which therefore have no weight in the export.
    Until `most` is reached, update j of n has a weight of about (j / n)^9, so the average covers about the last tenth
    of the run. This is the warm-up of TensorFlow's `ExponentialMovingAverage`, (1 + n) / (10 + n), without the part of
    the initial weights; for power-law averages see Karras et al., arXiv:2312.02696, sec. 3.1. Its only state is the
    number of updates, which every checkpoint has.
    """
    before = updates - 1
    return min(most, before / (before + WARM_UP))


class WeightCopy:
    """Copy of the trained weights that can temporarily replace them; sharded like the weights."""

    def __init__(self, network: nn.Module) -> None:
        self._parameters = dict(trainable(network))
        self.values: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def ema_update(self, decay: float) -> None:
        """Move towards the network's current weights: `copy <- decay copy + (1 - decay) weights`."""
        for name, value in self.values.items():
            local(value).lerp_(local(self._parameters[name].detach()), 1 - decay)

    def copy_from_network(self) -> None:
        """Take over the network's current weights."""
        self.ema_update(0.0)

    @torch.no_grad()
    def set(self, other: "WeightCopy") -> None:
        """Take over the weights of another copy of the same network."""
        for name, value in self.values.items():
            local(value).copy_(local(other.values[name]))

    def without_lora(self) -> "WeightCopy":
        """Take the effect of the trained LoRA out of the copy, and return it."""
        for name, value in self.values.items():
            if ".lora_B." in name:
                local(value).zero_()
        return self

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the copy inside the block, without gradients, which would be the copy's."""
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
        """Replace the network's weights by the copy."""
        self._put(self.values)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        """Set the network's weights.

        Shards are copied in place, since they are gathered from their own memory.
        """
        for name, parameter in self._parameters.items():
            if isinstance(parameter, DTensor):
                local(parameter).copy_(local(values[name]))
            else:
                parameter.data = values[name]


@contextmanager
def simulated_first_update(network: nn.Module, lr: float, *, max_norm: float, epsilon: float) -> Iterator[None]:
    """Temporarily apply Adam's first update, about `-lr * sign(grad)`, to the network's weights.

    Gradients are clipped to the norm `max_norm` (0: no clipping) and damped near `epsilon`. Afterwards the weights are
    restored and the gradients are None.
    """
    before = WeightCopy(network)
    try:
        if max_norm > 0:
            nn.utils.clip_grad_norm_([parameter for _, parameter in trainable(network)], max_norm)
        with torch.no_grad():
            for _, parameter in trainable(network):
                if parameter.grad is not None:
                    step = parameter.grad / (parameter.grad.abs() + epsilon)
                    parameter.data = parameter.data - lr * step
        network.zero_grad(set_to_none=True)
        yield
    finally:
        before.apply()


class ReferencePolicy:
    """Reference policy: the base model without adapter, or the weights of a `copy`."""

    def __init__(self, network: Any, copy: WeightCopy | None = None) -> None:
        self._network, self._copy = network, copy

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the reference's weights inside the block, without gradients."""
        if self._copy is not None:
            with self._copy.applied():
                yield
            return
        trained = trainable(self._network)
        self._network.disable_adapters()
        try:
            with torch.no_grad():
                yield
        finally:
            self._network.enable_adapters()
            for _, parameter in trained:  # peft leaves those of inactive adapters frozen
                parameter.requires_grad_(True)


def base_policy(network: Any, lora_rank: int, *, with_frozen: bool) -> ReferencePolicy:
    """Return the policy of the model without the trained LoRA; a frozen adapter stays."""
    if with_frozen:  # disabled adapters would take it away too
        return ReferencePolicy(network, WeightCopy(network).without_lora())
    return ReferencePolicy(network, None if lora_rank else WeightCopy(network))


def add_critic(network: Any) -> None:
    """Add a second trained LoRA, `CRITIC`, that is a copy of the first."""
    student = dict(trainable(network))
    with several_adapters(), torch.random.fork_rng():
        network.add_adapter(deepcopy(network.peft_config[ADAPTER]), CRITIC)
    use_adapter(network, ADAPTER)
    for name, parameter in trainable(network):
        parameter.data = student[name.replace(f".{CRITIC}.", f".{ADAPTER}.")].detach().clone()
    network.eval()


def use_adapter(network: Any, name: str) -> None:
    """Make one of the two trained adapters the active one; both stay trainable."""
    network.set_adapters(name)
    for key, parameter in network.named_parameters():
        parameter.requires_grad_(
            any(f".lora_{side}.{adapter}." in key for side in "AB" for adapter in (ADAPTER, CRITIC))
        )
