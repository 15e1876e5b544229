"""`dailies bench`: measure this machine, and compare two measurements."""

import argparse
from pathlib import Path
from typing import Any

from engine.benchmark.report import BenchmarkReport, Machine, Measurement, compare, read_report, write_report
from engine.cli.generate import NO_MIX, chosen_mix
from engine.cli.options.shared import Verbs
from engine.cli.terminal.output import print_json, print_table
from engine.config.data_sets import find_clips
from engine.config.presets import load_model_preset, load_train_preset
from engine.config.schema import TrainPreset
from engine.errors import ConfigError

DEFAULT_PRESET = "mini_grpo"
MAX_COUNT = 1000


def build_bench(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    running = verbs.add("run", run_bench, help="measure generation, rewards and training here")
    running.description = (
        "Measure text encoding, a denoising step, decoding, a whole clip, each reward of a mix, and iterations of a "
        "training preset (a generation batch with its updates), on this machine's device. Other work on the machine "
        "makes the figures worse."
    )
    running.add_argument("--model", default="mini", metavar="KEY", help="model of the generation part (default: mini)")
    running.add_argument("--frames", dest="num_frames", type=int, metavar="N", help="frames of the clip")
    running.add_argument(
        "--mix", metavar="KEY", help=f"rewards to measure; {NO_MIX}: no rewards (default: the model's)"
    )
    running.add_argument(
        "--preset", metavar="KEY", help=f"training preset; {NO_MIX}: no training (default: {DEFAULT_PRESET})"
    )
    running.add_argument("--recipe", dest="preset", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    running.add_argument("--repeats", type=int, default=5, metavar="N", help="timed calls of each part (default: 5)")
    running.add_argument(
        "--iterations", type=int, default=3, metavar="N", help="timed iterations of the preset (default: 3)"
    )
    running.add_argument(
        "--out", type=Path, metavar="FILE", help="write the report as JSON, for `dailies bench compare`"
    )
    comparing = verbs.add("compare", compare_reports, help="compare two reports")
    comparing.description = (
        "Print each quantity of two reports with the ratio after / before. Quantities with other settings (another "
        "clip shape, another training preset) have no ratio. `within noise` means that the ranges of both overlap."
    )
    comparing.add_argument("before", type=Path, help="report of `dailies bench run --out`")
    comparing.add_argument("after", type=Path, help="another report")


def run_bench(options: argparse.Namespace) -> None:
    """Check all arguments, then measure and print each figure as it comes."""
    from engine.benchmark.suite import BenchmarkPlan, run_benchmark  # imports torch

    _check_count("--repeats", options.repeats)
    _check_count("--iterations", options.iterations)
    if options.out is not None and not options.out.absolute().parent.is_dir():
        raise ConfigError(f"--out {options.out}: the folder {options.out.parent} does not exist. Create it first.")
    model = load_model_preset(options.model)
    mix = chosen_mix(options)
    plan = BenchmarkPlan(
        model=model.key,
        mix=mix,
        train_preset=_train_preset(options.preset),
        num_frames=options.num_frames,
        repeats=options.repeats,
        iterations=options.iterations,
    )
    for result in run_benchmark(plan):
        if isinstance(result, Measurement):
            if not options.json:
                print(_line(result), flush=True)
            continue
        _finish(result, options)


def _finish(report: BenchmarkReport, options: argparse.Namespace) -> None:
    if options.out is not None:
        write_report(options.out, report)
    if options.json:
        print_json(report.model_dump(mode="json"))
        return
    for name, reason in report.skipped.items():
        print(f"{name:<28} not measured: {reason}")
    print(f"Machine: {_describe(report.machine)}")
    if options.out is not None:
        print(f"Report: {options.out}")


def compare_reports(options: argparse.Namespace) -> None:
    """Print two reports side by side."""
    before, after = read_report(options.before), read_report(options.after)
    changes = compare(before, after)
    if options.json:
        facts: dict[str, Any] = {
            "before": before.machine.model_dump(),
            "after": after.machine.model_dump(),
            "changes": [
                {name: getattr(change, name) for name in ("name", "unit", "before", "after", "ratio", "overlaps")}
                for change in changes
            ],
        }
        print_json(facts)
        return
    print(f"before: {_describe(before.machine)}\nafter:  {_describe(after.machine)}")
    rows = [
        (
            change.name,
            change.unit,
            "-" if change.before is None else f"{change.before:.4g}",
            "-" if change.after is None else f"{change.after:.4g}",
            "-" if change.ratio is None else f"{change.ratio:.3f}",
            "within noise" if change.overlaps else "",
        )
        for change in changes
    ]
    print_table(("quantity", "unit", "before", "after", "after / before", ""), rows)


def _train_preset(key: str | None) -> TrainPreset | None:
    if key == NO_MIX:
        return None
    preset = load_train_preset(key or DEFAULT_PRESET)
    if preset.mix is None and preset.prompts is None and not (preset.pairs and find_clips(preset.pairs).exists()):
        raise ConfigError(
            f"The preset '{preset.key}' trains on pairs, but there is no preference data at {preset.pairs}: name a "
            "preset that trains on rewards, or make its pairs first."
        )
    return preset


def _check_count(option: str, value: int) -> None:
    if not 1 <= value <= MAX_COUNT:
        raise ConfigError(f"{option} {value} is invalid: use a number from 1 to {MAX_COUNT}.")


def _line(row: Measurement) -> str:
    spread = f"{row.low:.4g} to {row.high:.4g}" if row.repeats > 1 else ""
    return f"{row.name:<28} {row.value:>10.4g} {row.unit:<8} {spread}"


def _describe(machine: Machine) -> str:
    return (
        f"{machine.name}, {machine.cores} cores, {machine.memory_gib:g} GiB, torch {machine.torch}, "
        f"Python {machine.python}, Dailies {machine.dailies}"
    )
