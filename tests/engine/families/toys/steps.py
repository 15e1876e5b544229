"""The steps of Dailies in diffusers' pipelines, so that both can be compared from noise to latents."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any


@contextmanager
def of_order(pipeline: Any, order: int | None) -> Iterator[None]:
    """Give the scheduler of a pipeline the steps of Dailies; levels and timesteps stay unchanged.

    The steps are UniPC of this `order` without corrector, DPM-Solver of this order, or DDIM from each level to the
    next one. None leaves the scheduler as it is.

    Dailies steps flow models by Euler, which is order 1 of both. DDIM's step ends at the timestep
    `t - 1000 // num_steps`, which is not the next one unless the number of steps divides 1000 and spacing is not
    "linspace".
    """
    own = pipeline.scheduler
    if order is not None and type(own).__name__ == "UniPCMultistepScheduler":
        pipeline.scheduler = type(own).from_config(own.config, solver_order=order, disable_corrector=list(range(100)))
    if order is not None and type(own).__name__ == "DPMSolverMultistepScheduler":
        pipeline.scheduler = type(own).from_config(own.config, solver_order=order)
    if order is not None and "DDIM" in type(own).__name__:
        pipeline.scheduler = copy.copy(own)
        pipeline.scheduler.step = partial(chained_step, pipeline.scheduler)
    try:
        yield
    finally:
        pipeline.scheduler = own


def chained_step(scheduler: Any, output: Any, timestep: Any, sample: Any, *others: Any, **named: Any) -> Any:
    """DDIM's step to the scheduler's next timestep, and past the table's end after the last one."""

    class Gap(int):
        def __rfloordiv__(self, _: int) -> int:
            return int(self)

    later = scheduler.timesteps[scheduler.timesteps < timestep]
    count, scheduler.num_inference_steps = (
        scheduler.num_inference_steps,
        Gap(timestep - (later[0] if len(later) else -1)),
    )
    try:
        return type(scheduler).step(scheduler, output, timestep, sample, *others, **named)
    finally:
        scheduler.num_inference_steps = count
