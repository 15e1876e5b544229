"""Training loop with checkpoints for the small networks that the rewards ship.

Muon trains the matrices inside the blocks of a network, AdamW the rest; the learning rate has a short warm-up and a
linear decay to zero.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

WARM_UP_STEPS, EVERY_STEPS = 100, 100
REMEMBERED = 0.98  # decay of the running mean of the logged loss

Loss = Callable[[np.random.Generator], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Cost of a training: processor time in s, and the first step and the last planned step of each run.

    The learning rate decays towards the last planned step, so the plan of each run is part of the settings.
    """

    cpu_s: float = 0.0
    runs: tuple[tuple[int, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"cpu_s": round(self.cpu_s), "runs": [list(run) for run in self.runs]}


def fit(path: Path, model: nn.Module, loss: Loss, num_steps: int, rate: float, seed: Sequence[int]) -> Spent:
    """Train `model` until step `num_steps` and return the cost of all runs.

    `loss` gets a random generator that depends on `seed` and the step. `path` holds the checkpoint: an interrupted run
    resumes from it with the same batches as an uninterrupted one.
    """
    optimizers = make_optimizers(model, rate)
    step, spent = _resume(path, model, optimizers)
    runs = spent.runs if spent.runs and spent.runs[-1][1] == num_steps else (*spent.runs, (step, num_steps))
    name, first, began_s, seen = path.stem, step, time.process_time() - spent.cpu_s, 0.0
    log.info("%s: %.2f M parameters, from step %d", name, sum(p.numel() for p in model.parameters()) / 1e6, step)
    model.train()
    while step < num_steps:
        _set_rates(optimizers, min(1, (step + 1) / WARM_UP_STEPS) * (1 - step / num_steps))
        value = loss(np.random.default_rng([*seed, step]))
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step, seen = step + 1, REMEMBERED * seen + (1 - REMEMBERED) * value.item()
        if step % EVERY_STEPS == 0 or step == num_steps:
            spent = Spent(cpu_s=time.process_time() - began_s, runs=runs)
            _save(path, model, optimizers, step, spent)
            mean = seen / (1 - REMEMBERED ** (step - first))
            log.info("%s: step %d  %.0f cpu s  loss %.3f", name, step, spent.cpu_s, mean)
    model.eval()
    return spent


def make_optimizers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Create AdamW for embeddings, convolutions and the rest, and Muon for the matrices inside layers."""
    named = list(model.named_parameters())
    matrices = [p for n, p in named if p.ndim == 2 and ("layer" in n or "resblocks" in n)]
    chosen = {id(p) for p in matrices}
    others = [p for _, p in named if id(p) not in chosen]
    adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for group in (g for o in (adam, muon) for g in o.param_groups):
        group["peak"] = rate
    return [adam, muon]


def _set_rates(optimizers: Sequence[torch.optim.Optimizer], share: float) -> None:
    for group in (g for o in optimizers for g in o.param_groups):
        group["lr"] = group["peak"] * share


def _save(path: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], step: int, spent: Spent) -> None:
    state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | {"step": step, "spent": spent.to_dict()}, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def _resume(path: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> tuple[int, Spent]:
    if not path.exists():
        return 0, Spent()
    saved = torch.load(path, weights_only=True)
    model.load_state_dict(saved["model"])
    for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    runs = tuple((start, goal) for start, goal in saved["spent"]["runs"])
    return int(saved["step"]), Spent(cpu_s=float(saved["spent"]["cpu_s"]), runs=runs)
