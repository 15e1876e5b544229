"""`dailies campaigns judge`: an AI labeller votes on the pairs of a campaign."""

import argparse
from collections.abc import Sequence
from contextlib import closing

from engine.cli.options.shared import Verbs
from engine.cli.terminal.job_commands import queue_job, run_in_process
from engine.cli.terminal.output import decimal, print_json, print_table
from engine.clock import now
from engine.jobs.spec import JobSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.judge_votes import judge_table
from engine.labelling.stats.judge_agreement import JudgeAgreement, campaign_judges
from engine.storage.library import Library
from engine.workspace import Workspace


def add_judge(verbs: Verbs) -> None:
    judge = verbs.add("judge", judge_pairs, help="let an AI labeller vote on the pairs of a campaign")
    judge.description = (
        "Ask a pairwise judge about each pair that it has not judged yet, in both orders. Its votes are kept apart "
        "from those of people. An interrupted command continues where it stopped."
    )
    judge.add_argument("id", help="see `dailies campaigns ls`")
    judge.add_argument("judge", metavar="REWARD", help='external reward with mode = "pairwise": `dailies rewards ls`')
    judge.add_argument("--again", action="store_true", help="judge all pairs, and replace the votes so far")
    judge.add_argument("--queue", action="store_true", help="submit a job to the worker instead of running here")


def judge_pairs(options: argparse.Namespace) -> None:
    """Run or queue the job, and print the judge's agreement with people."""
    replace_before = now().isoformat() if options.again else None
    config = {"campaign": options.id, "judge": options.judge, "replace_before": replace_before}
    judge_table(options.judge)
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        Campaigns(library).get(options.id)
    if options.queue:
        return queue_job(JobSpec(kind="judge", config=config), options)
    result = run_in_process("judge", config, options)
    if options.json:
        return print_json(result)
    print("\n".join([*result["unjudged"].values(), f"{result['pairs']} pairs were judged."]))
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        print_judges(campaign_judges(Campaigns(library), options.id, options.judge))


def print_judges(judges: Sequence[JudgeAgreement]) -> None:
    """Print a row for each AI labeller, with its agreement with people."""
    rows = [
        (
            found.judge,
            found.pairs,
            found.ties,
            f"{found.equal.hits}/{found.equal.count}",
            decimal(found.alpha),
            decimal(found.first_chosen),
        )
        for found in judges
    ]
    print_table(("AI labeller", "pairs", "ties", "as people", "alpha", "first place"), rows)
