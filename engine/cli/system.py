"""`dailies system`: devices, PyTorch, attention kernels and the environment of compute processes."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.cli.options.shared import add_shared_options
from engine.cli.terminal.output import print_json, print_table
from engine.cli.terminal.progress import run_to_end
from engine.hardware.environment import environment
from engine.hardware.rocm import torch_build
from engine.jobs.handlers.device_questions import ask
from engine.jobs.spec import JobProgress
from engine.workspace import Workspace


def build_system(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Show the devices that PyTorch sees, its build, and the environment variables that Dailies sets on ROCm for "
        "workers and trainers."
    )
    parser.add_argument(
        "--measure", action="store_true", help="also time the attention kernels and a 3D convolution, in ms"
    )
    parser.set_defaults(run=show_system)


def show_system(options: argparse.Namespace) -> None:
    workspace, build = Workspace.from_env(options.workspace), torch_build()
    questions = ("devices", "attention", "convolutions") if options.measure else ("devices",)
    answers = {question: run_to_end(ask(question, workspace, JobProgress(phase="inspect"))) for question in questions}
    variables = environment(workspace)
    if options.json:
        settings = [asdict(setting) for setting in variables.settings]
        print_json({"torch": asdict(build), **answers, "environment": settings, "warnings": list(variables.warnings)})
        return
    platform = f"ROCm {build.hip}" if build.hip else f"CUDA {build.cuda}" if build.cuda else "CPU only"
    print(f"PyTorch {build.version or 'is not installed'} ({platform})")
    _print_devices(answers.pop("devices"))
    for question, answer in answers.items():
        print(f"{question}: {', '.join(f'{name} {value}' for name, value in answer.items())}")
    if variables.settings:
        rows = [(one.name, one.value, one.origin, one.reason) for one in variables.settings]
        print_table(("variable", "value", "set by", "reason"), rows)
    for warning in variables.warnings:
        print(f"Warning: {warning}")


def _print_devices(answer: Mapping[str, Any]) -> None:
    if "problem" in answer:
        print(f"devices: {answer['problem']}")
        return
    for device in answer["devices"]:
        print(
            f"{device['device']}: {device['name']}, {device['memory_gib']:.0f} GiB, {device['free_gib']:.0f} GiB free"
        )
