"""`dailies evaluate`, `export`, `pairs`, `curriculum`: what comes before and after a run, and runs in a row."""

import argparse
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.output import print_json, print_table, run_to_end

if TYPE_CHECKING:
    from engine.jobs.spec import JobProgress
    from engine.runs.curriculum_state import Curriculum
    from engine.runs.results import Evaluation, Interval


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        parents=[shared],
        help="measure what a run changed, on prompts that it was not trained on",
        description="Clips of fixed prompts and seeds before and after training, every reward of them, the monitoring "
        "metrics and, where there is one, the judge, with 95 % intervals. Kept in the run's folder.",
    )
    evaluate.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    evaluate.add_argument("--prompts", metavar="FILE", help="a file of presets/prompts (default: the recipe's)")
    evaluate.add_argument("--num-prompts", type=int, default=16, metavar="N", help="how many of them (default 16)")
    evaluate.add_argument("--takes", type=int, default=2, metavar="N", help="clips of each prompt (default 2)")
    evaluate.add_argument("--mix", help="the rewards that are measured (default: the recipe's)")
    evaluate.set_defaults(run=evaluate_run)
    export = commands.add_parser("export", parents=[shared], help="copy a run's adapter, with what is known of it")
    export.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    export.add_argument("folder", type=Path, help="where to; it must not exist yet")
    export.set_defaults(run=export_run)
    _add_pairs(commands, shared)
    _add_curriculum(commands, shared)


def _add_pairs(commands: Any, shared: argparse.ArgumentParser) -> None:
    pairs = commands.add_parser(
        "pairs",
        parents=[shared],
        help="make pairs for DPO of a model's own clips, the best take of a prompt against the worst",
        description="The folder's pairs.jsonl is what `--set pairs=FILE` of a DPO recipe takes.",
    )
    pairs.add_argument("folder", type=Path, help="where to; it must not exist yet")
    pairs.add_argument("--model", default="mini", help="see `dailies models ls`")
    pairs.add_argument("--mix", default="mini", help="the rewards that tell best from worst")
    pairs.add_argument("--prompts", default="mini", metavar="FILE", help="a file of presets/prompts")
    pairs.add_argument("--num-prompts", type=int, metavar="N", help="how many of them (default: all)")
    pairs.add_argument("--takes", type=int, default=4, metavar="N", help="clips of each prompt (default 4)")
    pairs.add_argument("--margin", type=float, default=0.05, help="how far apart they must be (default 0.05)")
    pairs.add_argument("--seed", type=int, default=0)
    pairs.set_defaults(run=make_pairs)


def _add_curriculum(commands: Any, shared: argparse.ArgumentParser) -> None:
    curriculum = commands.add_parser(
        "curriculum",
        parents=[shared],
        help="train stage after stage, each behind its gate",
        description="Begin a curriculum of presets/curricula, or go on with one of the workspace by its id. Ctrl-C "
        "keeps where it is.",
    )
    curriculum.add_argument("name", metavar="PRESET|ID", help="see `dailies presets ls curricula`")
    curriculum.add_argument("--queue", action="store_true", help="file a job for the worker instead of running it here")
    curriculum.set_defaults(run=run_curriculum)


def evaluate_run(options: argparse.Namespace) -> None:
    names = ("prompts", "num_prompts", "takes", "mix")
    config = {"run": options.run_id, **{name: getattr(options, name) for name in names}}
    result = _here("evaluate", config, options)
    if options.json:
        print_json(result)
        return
    from engine.runs.results import Evaluation

    show(Evaluation.model_validate(result))


def show(evaluation: "Evaluation") -> None:
    """A row a measure: the judge first, then what changed for the worse."""
    order = {"worse": 0, "better": 1, "unsure": 2}
    measures = sorted(evaluation.measures, key=lambda one: (one.role != "judge", order[one.verdict]))
    rows = [(m.name, m.role, m.wanted, _mean(m.before), _mean(m.after), _span(m.change), m.verdict) for m in measures]
    print_table(("measure", "role", "wanted", "before", "after", "change, 95 %", "verdict"), rows)
    print(
        f"{evaluation.prompts} prompts x {evaluation.takes} takes of {evaluation.num_frames} frames; a clip took "
        f"{evaluation.seconds_before:.2f} s before and {evaluation.seconds_after:.2f} s after."
    )


def _mean(interval: "Interval") -> str:
    return f"{interval.mean:.3f}"


def _span(interval: "Interval") -> str:
    return f"{interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def export_run(options: argparse.Namespace) -> None:
    from engine.errors import ConfigError
    from engine.runs.run import Run
    from engine.workspace import Workspace

    run = Run.find(Workspace.from_env(options.workspace), options.run_id)
    weights = run.weights()
    if weights is None:
        raise ConfigError(f"The run {run.id} has no weights yet: wait for its first checkpoint.")
    if options.folder.exists():
        raise ConfigError(f"{options.folder} exists already: choose another folder.")
    files = run.export(options.folder)
    if options.json:
        print_json({"run": run.id, "folder": str(options.folder), "files": files, "finished": weights == run.adapter})
    else:
        print(f"{options.folder} holds {', '.join(files)}.")


def make_pairs(options: argparse.Namespace) -> None:
    result = run_to_end(_made(options))
    if options.json:
        print_json(result)
    else:
        print(f"{options.folder} holds {result['pairs']} pairs.")


def _made(options: argparse.Namespace) -> "Generator[JobProgress, None, dict[str, Any]]":
    from engine.config.presets import load_preset, read_prompts
    from engine.families.registry import open_model
    from engine.jobs.spec import JobProgress
    from engine.request import GenerationRequest
    from engine.training.data.reward_pairs import make_pairs
    from rewards import mix_reward_func

    preset = load_preset("models", options.model)
    steps = make_pairs(
        open_model(preset),
        GenerationRequest(**{"prompt": "-", **preset.defaults()}),
        read_prompts(options.prompts)[: options.num_prompts],
        mix_reward_func(load_preset("rewards", options.mix)),
        options.folder,
        takes=options.takes,
        margin=options.margin,
        seed=options.seed,
    )
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return {"folder": str(options.folder), "pairs": end.value}
        yield JobProgress(phase=step.phase, step=step.step, of=step.of)


def run_curriculum(options: argparse.Namespace) -> None:
    from engine.runs.curriculum_state import CurriculumState

    curriculum = _curriculum(options)
    config = {"curriculum": curriculum.id}
    if options.queue:
        _queue("curriculum", config, options)
        return
    result = _here("curriculum", config, options)
    if options.json:
        print_json(result)
        return
    state, stages = CurriculumState.model_validate(result["state"]), curriculum.preset().stages
    rows = [
        (stages[one.stage].name, one.attempt + 1, one.run, one.result.action if one.result else "", one.num_frames)
        for one in state.attempts
    ]
    print_table(("stage", "attempt", "run", "then", "frames"), rows)
    print(f"Curriculum {curriculum.id} is {state.status}. {state.sentence}")


def _curriculum(options: argparse.Namespace) -> "Curriculum":
    """The workspace's curriculum of that id, or a new one of the preset."""
    from engine.config.presets import load_curriculum
    from engine.runs.curriculum_state import Curriculum, list_curricula
    from engine.workspace import Workspace

    workspace = Workspace.from_env(options.workspace).prepare()
    known = {one.id: one for one in list_curricula(workspace)}
    return known.get(options.name) or Curriculum.create(workspace, load_curriculum(options.name))


def _here(kind: str, config: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Run a job's handler in this process."""
    from engine.jobs.context import JobContext
    from engine.jobs.kinds import KINDS, kind_of
    from engine.storage.library import Library
    from engine.workspace import Workspace

    store = Library(Workspace.from_env(options.workspace))
    try:
        return run_to_end(kind_of(kind, KINDS).start(config, JobContext(store=store)))
    finally:
        store.close()


def _queue(kind: str, config: dict[str, Any], options: argparse.Namespace) -> None:
    from engine.jobs.queue import JobQueue
    from engine.jobs.spec import JobSpec
    from engine.jobs.worker_control import ensure_worker
    from engine.storage.library import Library
    from engine.workspace import Workspace

    store = Library(Workspace.from_env(options.workspace))
    try:
        job = JobQueue(store).submit(JobSpec(kind=kind, config=config))
        ensure_worker(store.workspace)
    finally:
        store.close()
    if options.json:
        print_json(job.to_dict())
    else:
        print(f"Job {job.id} is queued. `dailies jobs show {job.id}` tells where it is.")
