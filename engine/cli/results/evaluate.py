"""`dailies evaluate`: compare a run's clips before and after training."""

import argparse

from engine.cli.options.shared import add_shared_options, add_variations
from engine.cli.terminal.job_commands import queue_job, run_in_process
from engine.cli.terminal.output import print_json, print_table
from engine.jobs.spec import JobSpec
from engine.runs.results import Evaluation, Interval
from engine.runs.run import Run
from engine.workspace import Workspace


def build_evaluate(parser: argparse.ArgumentParser) -> None:
    add_shared_options(parser)
    parser.description = (
        "Compare clips of fixed prompts and seeds before and after training by all rewards, the monitoring metrics and "
        "the model's judge if it has one, with 95 % intervals. The result is saved in the run's folder."
    )
    parser.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    parser.add_argument("--prompts", metavar="FILE", help="file of presets/prompts (default: the preset's)")
    parser.add_argument("--num-prompts", type=int, default=16, metavar="N", help="number of prompts (default: 16)")
    add_variations(parser, 2, "clips of each prompt")
    parser.add_argument("--mix", help="mix of rewards to measure (default: the preset's)")
    parser.add_argument("--queue", action="store_true", help="submit a job to the worker instead of running here")
    parser.set_defaults(run=evaluate_run)


def evaluate_run(options: argparse.Namespace) -> None:
    Run.find(Workspace.from_env(options.workspace), options.run_id)  # before torch is loaded or a job is queued
    config = {"run": options.run_id, "takes": options.variations}
    config |= {name: getattr(options, name) for name in ("prompts", "num_prompts", "mix")}
    if options.queue:
        return queue_job(JobSpec(kind="evaluate", config=config), options)
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
        (m.name, m.role, m.wanted, _format_mean(m.before), _format_mean(m.after), m.change.signed, m.verdict)
        for m in measures
    ]
    print_table(("measure", "role", "wanted", "before", "after", "change, 95 %", "verdict"), rows)
    print(
        f"{evaluation.prompts} prompts x {evaluation.takes} variations of {evaluation.num_frames} frames; a clip took "
        f"{evaluation.seconds_before:.2f} s before and {evaluation.seconds_after:.2f} s after."
    )


def _format_mean(interval: Interval) -> str:
    return f"{interval.mean:.3f}"
