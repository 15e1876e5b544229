"""`run_benchmark`: all measurements of one model, one mix and one preset, in order, with progress."""

import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from engine.benchmark.generation import benchmark_request, make_clip, measure_generation, measure_rewards
from engine.benchmark.iteration import measure_iteration
from engine.benchmark.report import BenchmarkReport, Machine, Measurement, summary
from engine.benchmark.timing import matmul_tflops
from engine.config.presets import load_preset
from engine.config.schema import TrainPreset
from engine.errors import DailiesError
from engine.families.registry import open_model
from engine.hardware.device import device_facts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkPlan:
    """Parts to measure: a model, a mix (None: no rewards), a preset (None: no training).

    `repeats` is the number of timed calls of each part, `iterations` that of timed training iterations.
    """

    model: str
    mix: str | None
    train_preset: TrainPreset | None
    num_frames: int | None = None
    repeats: int = 5
    iterations: int = 3


def describe_machine() -> Machine:
    """Return the facts of this machine that a comparison needs."""
    facts = device_facts()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        device=facts.device,
        backend=facts.backend,
        name=facts.name,
        memory_gib=round(facts.memory_gib, 1),
        cores=cores,
        torch=facts.torch_version,
        runtime=facts.runtime_version,
        python=platform.python_version(),
        dailies=metadata.version("dailies"),
    )


def run_benchmark(plan: BenchmarkPlan) -> Iterator[Measurement | BenchmarkReport]:
    """Yield each measurement as it is made, and the report of all at the end.

    A part that fails on this machine is left out, and the report gives the reason. Raises a DailiesError if the model
    cannot be loaded.
    """
    machine = describe_machine()
    measured: list[Measurement] = []
    skipped: dict[str, str] = {}

    def note(result: Measurement | tuple[str, str]) -> Iterator[Measurement]:
        if isinstance(result, Measurement):
            measured.append(result)
            yield result
        else:
            skipped[result[0]] = result[1]

    yield from note(Measurement(name="matmul", unit="TFLOP/s", **summary(matmul_tflops(machine.device, plan.repeats))))
    family = open_model(load_preset("models", plan.model), machine.device)
    request = benchmark_request(load_preset("models", plan.model), plan.num_frames)
    for result in measure_generation(family, request, device=machine.device, repeats=plan.repeats):
        yield from note(result)
    if plan.mix is not None:
        clip = make_clip(family, request)
        for scored in measure_rewards(
            load_preset("rewards", plan.mix), clip, device=machine.device, repeats=plan.repeats
        ):
            yield from note(scored)
    del family  # the training process loads the model again
    if plan.train_preset is not None:
        try:
            for result in measure_iteration(plan.train_preset, iterations=plan.iterations):
                yield from note(result)
        except DailiesError as error:
            log.warning("The preset '%s' was not measured: %s", plan.train_preset.key, error)
            skipped["iteration"] = str(error)
    yield BenchmarkReport(machine=machine, measurements=tuple(measured), skipped=skipped)
