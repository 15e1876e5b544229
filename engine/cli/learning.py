"""`dailies evaluate`, `export`, `pairs` and `curriculum`: steps before, after and across runs."""

import argparse
from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from engine.cli.options.export import add_export_options, new_export
from engine.cli.options.shared import add_shared_options
from engine.cli.terminal.output import print_json, print_result, print_table
from engine.cli.terminal.progress import run_to_end
from engine.config.presets import load_curriculum, load_preset
from engine.config.prompts import read_rows
from engine.errors import ConfigError
from engine.families.registry import open_model
from engine.jobs.context import JobContext
from engine.jobs.kinds import KINDS, kind_of
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobProgress, JobSpec
from engine.jobs.worker_control import ensure_worker
from engine.request import GenerationRequest
from engine.runs.curriculum_state import Curriculum, CurriculumState, list_curricula
from engine.runs.results import Evaluation, Interval
from engine.runs.run import Run
from engine.storage.images import load_picture
from engine.storage.library import Library
from engine.workspace import Workspace
from rewards import mix_reward_func


def build_evaluate(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Compare clips of fixed prompts and seeds before and after training by all rewards, the monitoring metrics and "
        "the model's judge if it has one, with 95 % intervals. The result is saved in the run's folder."
    )
    parser.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    parser.add_argument("--prompts", metavar="FILE", help="file of presets/prompts (default: the recipe's)")
    parser.add_argument("--num-prompts", type=int, default=16, metavar="N", help="number of prompts (default: 16)")
    parser.add_argument("--takes", type=int, default=2, metavar="N", help="clips of each prompt (default: 2)")
    parser.add_argument("--mix", help="mix of rewards to measure (default: the recipe's)")
    parser.set_defaults(run=evaluate_run)


def build_export(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    add_export_options(parser)
    parser.set_defaults(run=export_run)


def build_pairs(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Generate clips and pair them. Train a DPO preset on the folder's pairs.jsonl with `--set pairs=FILE`."
    )
    parser.add_argument("folder", type=Path, help="new folder to write to")
    parser.add_argument("--model", default="mini", help="see `dailies models ls`")
    parser.add_argument("--mix", default="mini", help="mix of rewards that ranks the takes")
    parser.add_argument("--prompts", default="mini", metavar="FILE", help="file of presets/prompts")
    parser.add_argument("--num-prompts", type=int, metavar="N", help="number of prompts (default: all)")
    parser.add_argument("--takes", type=int, default=4, metavar="N", help="clips of each prompt (default: 4)")
    parser.add_argument("--margin", type=float, default=0.05, help="least difference of the two scores (default: 0.05)")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=pair_clips)


def build_curriculum(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Start a curriculum of presets/curricula, or resume one of the workspace by its id. Ctrl-C stops it and keeps "
        "its state."
    )
    parser.add_argument("name", metavar="PRESET|ID", help="see `dailies presets ls curricula`")
    parser.add_argument("--queue", action="store_true", help="submit a job to the worker instead of running here")
    parser.set_defaults(run=run_curriculum)


def evaluate_run(options: argparse.Namespace) -> None:
    names = ("prompts", "num_prompts", "takes", "mix")
    config = {"run": options.run_id, **{name: getattr(options, name) for name in names}}
    result = run_in_process("evaluate", config, options)
    if options.json:
        print_json(result)
        return
    print_evaluation(Evaluation.model_validate(result))


def print_evaluation(evaluation: Evaluation) -> None:
    """Print a row a measure: the judge first, then measures that got worse."""
    order = {"worse": 0, "better": 1, "unsure": 2}
    measures = sorted(evaluation.measures, key=lambda measure: (measure.role != "judge", order[measure.verdict]))
    rows = [
        (m.name, m.role, m.wanted, _format_mean(m.before), _format_mean(m.after), _format_change(m.change), m.verdict)
        for m in measures
    ]
    print_table(("measure", "role", "wanted", "before", "after", "change, 95 %", "verdict"), rows)
    print(
        f"{evaluation.prompts} prompts x {evaluation.takes} takes of {evaluation.num_frames} frames; a clip took "
        f"{evaluation.seconds_before:.2f} s before and {evaluation.seconds_after:.2f} s after."
    )


def _format_mean(interval: Interval) -> str:
    return f"{interval.mean:.3f}"


def _format_change(interval: Interval) -> str:
    return f"{interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def export_run(options: argparse.Namespace) -> None:
    run = Run.find(Workspace.from_env(options.workspace), options.run_id)
    weights = run.weights()
    if weights is None:
        raise ConfigError(f"The run {run.id} has no weights yet: wait for its first checkpoint.")
    with new_export(options.folder):
        files = run.export(options.folder, options.format)
    facts = {"run": run.id, "folder": str(options.folder), "files": files, "finished": weights == run.adapter}
    print_result(options, facts, f"{options.folder} holds {', '.join(files)}.")


def pair_clips(options: argparse.Namespace) -> None:
    result = run_to_end(_pair_steps(options))
    print_result(options, result, f"{options.folder} holds {result['pairs']} pairs.")


def _pair_steps(options: argparse.Namespace) -> Generator[JobProgress, None, dict[str, Any]]:
    """Make the pairs, yield the progress, and return the result that `--json` prints."""
    from engine.training.data.reward_pairs import make_pairs  # imports torch

    preset, workspace = load_preset("models", options.model), Workspace.from_env(options.workspace)
    steps = make_pairs(
        open_model(preset),
        GenerationRequest(**{"prompt": "-", **preset.defaults()}),
        [row.stored(workspace) for row in read_rows(options.prompts)[: options.num_prompts]],
        mix_reward_func(load_preset("rewards", options.mix)),
        options.folder,
        takes=options.takes,
        margin=options.margin,
        seed=options.seed,
        load=partial(load_picture, workspace),
    )
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return {"folder": str(options.folder), "pairs": end.value}
        yield JobProgress(phase=step.phase, step=step.step, of=step.of)


def run_curriculum(options: argparse.Namespace) -> None:
    curriculum = _find_or_create_curriculum(options)
    config = {"curriculum": curriculum.id}
    if options.queue:
        queue_job("curriculum", config, options)
        return
    result = run_in_process("curriculum", config, options)
    if options.json:
        print_json(result)
        return
    state, stages = CurriculumState.model_validate(result["state"]), curriculum.preset().stages
    rows = [
        (
            stages[attempt.stage].name,
            attempt.attempt + 1,
            attempt.run,
            attempt.result.action if attempt.result else "",
            attempt.num_frames,
        )
        for attempt in state.attempts
    ]
    print_table(("stage", "attempt", "run", "then", "frames"), rows)
    print(f"Curriculum {curriculum.id} is {state.status}. {state.sentence}")


def _find_or_create_curriculum(options: argparse.Namespace) -> Curriculum:
    """Return the workspace's curriculum of that id, or a new one of the preset."""
    workspace = Workspace.from_env(options.workspace).prepare()
    existing = {curriculum.id: curriculum for curriculum in list_curricula(workspace)}
    return existing.get(options.name) or Curriculum.create(workspace, load_curriculum(options.name))


def run_in_process(kind: str, config: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Run a job's handler in this process and return its result."""
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        return run_to_end(kind_of(kind, KINDS).start(config, JobContext(store=library)))


def queue_job(kind: str, config: dict[str, Any], options: argparse.Namespace) -> None:
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        job = JobQueue(library).submit(JobSpec(kind=kind, config=config))
        ensure_worker(library.workspace)
    print_result(options, job.to_dict(), f"Job {job.id} is queued. `dailies jobs show {job.id}` shows its progress.")
