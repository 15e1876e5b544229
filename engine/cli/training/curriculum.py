"""`dailies curriculum`: train the stages of a curriculum."""

import argparse

from engine.cli.options.shared import add_shared_options
from engine.cli.terminal.job_commands import queue_job, run_in_process
from engine.cli.terminal.output import print_json, print_result, print_table
from engine.config.presets import load_curriculum
from engine.jobs.spec import JobSpec
from engine.runs.curriculum_state import Curriculum, CurriculumState, list_curricula
from engine.workspace import Workspace


def build_curriculum(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Start a curriculum of presets/curricula, or resume one of the workspace by its id. Ctrl-C stops it and keeps "
        "its state."
    )
    parser.add_argument("name", metavar="PRESET|ID", help="see `dailies presets ls curricula`")
    parser.add_argument("--queue", action="store_true", help="submit a job to the worker instead of running here")
    parser.add_argument(
        "--abandon",
        action="store_true",
        help="end the curriculum ID without training: its runs and data can be deleted then",
    )
    parser.set_defaults(run=run_curriculum)


def run_curriculum(options: argparse.Namespace) -> None:
    if options.abandon:
        Curriculum.find(Workspace.from_env(options.workspace), options.name).abandon()
        print_result(options, {"curriculum": options.name, "status": "stopped"}, f"{options.name} is stopped.")
        return
    curriculum = _find_or_create_curriculum(options)
    config = {"curriculum": curriculum.id}
    if options.queue:
        queue_job(JobSpec(kind="curriculum", config=config), options)
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
