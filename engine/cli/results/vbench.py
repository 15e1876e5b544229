"""`dailies vbench`: make the videos of VBench, and read its scores into a run's evaluation."""

import argparse
from collections.abc import Generator
from pathlib import Path
from typing import Any

from engine.cli.options.shared import Verbs
from engine.cli.results.evaluate import print_evaluation
from engine.cli.terminal.output import print_json, print_result
from engine.cli.terminal.progress import run_to_end
from engine.config.presets import load_preset
from engine.errors import ConfigError
from engine.families.registry import open_model
from engine.jobs.kinds import job_steps
from engine.jobs.spec import JobProgress
from engine.runs.run import Run
from engine.runs.vbench import VBenchSuite, read_scores, read_suite
from engine.training.evaluation.vbench_scores import add_scores
from engine.workspace import Workspace

SIDES = ("before", "after")


def build_vbench(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    videos = verbs.add("videos", make_videos, help="generate the benchmark's videos before and after training")
    videos.description = (
        "Generate the videos of VBench or VBench-2.0 with the base model (FOLDER/before) and with the run's weights "
        "(FOLDER/after), under the names that the benchmark expects. Existing videos are kept, so that the command "
        "can be repeated after an interruption."
    )
    videos.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    videos.add_argument("folder", type=Path, help="folder to write to")
    videos.add_argument(
        "--info",
        type=Path,
        required=True,
        metavar="FILE",
        help="VBench_full_info.json or VBench2_full_info.json of your VBench installation",
    )
    videos.add_argument(
        "--dimension", action="append", default=[], metavar="NAME", help="only this dimension; can be repeated"
    )
    videos.add_argument("--side", choices=SIDES, action="append", help="only this side (default: both)")
    reading = verbs.add("read", read_results, help="add VBench's scores to the run's evaluation")
    reading.description = (
        "Add a measure for each dimension that both sides have to the run's evaluation, with a 95 % interval over "
        "prompts where VBench gives a score for each video."
    )
    reading.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    for side in SIDES:
        reading.add_argument(
            f"--{side}", type=Path, nargs="+", required=True, metavar="FILE", help="_eval_results.json of VBench"
        )


def make_videos(options: argparse.Namespace) -> None:
    run = Run.find(Workspace.from_env(options.workspace), options.run_id)
    result = run_to_end(_video_steps(run, read_suite(options.info), options))
    print_result(options, result, f"{options.folder} has {result['videos']} new videos.")


def _video_steps(
    run: Run, suite: VBenchSuite, options: argparse.Namespace
) -> Generator[JobProgress, None, dict[str, Any]]:
    from engine.training.evaluation.vbench import plan_videos, write_videos  # imports torch

    videos = suite.videos(options.dimension)
    sides = plan_videos(run, videos)
    family = open_model(load_preset("models", run.preset().model))
    count = 0
    for name in dict.fromkeys(options.side or SIDES):
        origin = {"run": run.id, "side": name, "step": sides.step if name == "after" else 0}
        side = sides.after if name == "after" else sides.before
        count += yield from job_steps(write_videos(family, side, videos, options.folder / name, origin))
    return {"folder": str(options.folder), "videos": count}


def read_results(options: argparse.Namespace) -> None:
    """Add the scores.

    Raises ConfigError for a run without an evaluation, or results without a common dimension.
    """
    run = Run.find(Workspace.from_env(options.workspace), options.run_id)
    evaluation = run.evaluation()
    if evaluation is None:
        raise ConfigError(f"The run {run.id} has no evaluation yet: run `dailies evaluate {run.id}` first.")
    extended = add_scores(evaluation, read_scores(options.before), read_scores(options.after))
    run.save_evaluation(extended)
    if options.json:
        print_json(extended.model_dump(mode="json"))
        return
    print_evaluation(extended)
