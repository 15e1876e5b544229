"""`dailies campaigns`: labelling campaigns, and the export and import of preference pairs."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.cli.judging import add_judge, print_judges
from engine.cli.options.shared import Verbs, add_settings, add_variations, read_setting
from engine.cli.terminal.output import decimal, print_json, print_result, print_table, shorten
from engine.cli.terminal.progress import ProgressMeter
from engine.config.prompts import stored_rows
from engine.config.schema import TrainPreset
from engine.errors import ConfigError
from engine.jobs.handlers.campaign_clips import create_campaign
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobProgress
from engine.jobs.worker_control import ensure_worker
from engine.labelling.campaign_spec import CampaignSpec, PicturedPrompt
from engine.labelling.campaigns import Campaigns
from engine.labelling.judge_votes import judge_votes
from engine.labelling.pair_exchange import LAYOUTS, export_pairs, import_pairs
from engine.labelling.preference_pairs import preference_pairs
from engine.labelling.stats.agreement import agreement
from engine.labelling.stats.campaign_head import HeadProgress, train_campaign_head
from engine.labelling.stats.campaign_rewards import learn_campaign_mix
from engine.labelling.stats.judge_agreement import campaign_judges, checked_preferences
from engine.labelling.stats.ranking import rank, vote_table
from engine.labelling.vote_csv import export_votes, import_votes
from engine.storage.library import Library
from engine.suggestions import validation_message
from engine.workspace import Workspace
from rewards.errors import did_you_mean

VOTES_LAYOUT = "votes"


def build_campaigns(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.add("ls", list_campaigns, help="list campaigns, newest first")
    add_create(verbs)
    show = verbs.add("show", show_campaign, help="progress, agreement and ranking of a campaign")
    show.add_argument("id", help="see `dailies campaigns ls`")
    add_judge(verbs)
    add_exchange(verbs)
    add_learn(verbs)


def add_create(verbs: Verbs) -> None:
    parser = verbs.add(
        "create",
        create,
        help="create a campaign",
        description="Create a campaign of pairs of clips of one prompt, by different entrants, or by one entrant with "
        "--variations 2 or more. Jobs are submitted for missing clips.",
    )
    parser.add_argument("title", help="title that labellers see")
    parser.add_argument("--prompts", metavar="FILE", help="file of presets/prompts, or a path: see docs/prompts.md")
    parser.add_argument(
        "--entrant",
        action="append",
        default=[],
        metavar="MODEL[+ADAPTER]",
        help="a model, or a model with an adapter; repeat the option for more",
    )
    parser.add_argument(
        "--clips", nargs="+", default=[], metavar="ID", help="clips of the library, instead of prompts and entrants"
    )
    add_variations(parser, 1, "clips of each prompt by each entrant")
    parser.add_argument(
        "--people", type=int, default=1, metavar="N", help="number of people who see each pair (default: 1)"
    )
    parser.add_argument(
        "--target", type=int, metavar="N", help="number of votes that completes it (default: all pairs)"
    )
    parser.add_argument(
        "--strategy", default="random", metavar="NAME", help="random (default), informative, disagreement"
    )
    parser.add_argument(
        "--axis", action="append", default=[], metavar="NAME", help="another axis to judge; repeat the option for more"
    )
    add_settings(parser, "setting of the clips, such as num_frames=33")
    parser.add_argument("--mix", metavar="MIX", help="mix of rewards that scores the new clips")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the clips' noise (default: 0)")


def add_exchange(verbs: Verbs) -> None:
    out = verbs.add("export", export, help="export a campaign's preference pairs, or its votes")
    out.add_argument("id", help="see `dailies campaigns ls`")
    out.add_argument("target", type=Path, help="a new folder, or a file for `--layout votes`")
    layout = "huggingface (default), trl, videodpo, or votes (CSV)"
    out.add_argument("--layout", default="huggingface", metavar="NAME", help=layout)
    out.add_argument(
        "--min-margin", type=float, default=0.0, metavar="M", help="only pairs that people agree on so far"
    )
    out.add_argument("--judge", metavar="REWARD", help="also the pairs that only this AI labeller has judged")
    out.add_argument(
        "--judge-agreement",
        type=float,
        default=TrainPreset.model_fields["judge_agreement"].default,
        metavar="S",
        help="least share of equal preferences of the judge and people (default: 0.7; 0: not checked)",
    )
    into = verbs.add(
        "import",
        import_source,
        help="import pairs of one of these layouts, or votes",
        description="Import a folder or a table of pairs as a file for `dailies train PRESET --set pairs=FILE`, or add "
        "a CSV of votes to the campaign of --campaign.",
    )
    into.add_argument("source", type=Path, help="a folder, a table, or a CSV of votes")
    into.add_argument("--name", help="name of the pairs (default: the source's name)")
    into.add_argument("--campaign", metavar="ID", help="campaign to which the votes are added")


def add_learn(verbs: Verbs) -> None:
    learn = verbs.add(
        "learn",
        learn_mix,
        help="learn the weights of a mix from a campaign's votes",
        description="Fit the weights of a mix so that preferred clips tend to have the higher total, and save it as a "
        "preset of the workspace (or of the folder in DAILIES_PRESETS).",
    )
    learn.add_argument("id", help="see `dailies campaigns ls`")
    learn.add_argument("name", help="name of the new mix")
    learn.add_argument(
        "--mix", required=True, metavar="MIX", help="mix whose rewards are weighted; it must have scored the clips"
    )
    head = verbs.add("head", train_reward_head, help="train a reward head on a campaign's votes")
    head.description = (
        "Train a small model over the features of the campaign's clips (rewards, CLIP, video network) on its votes, "
        "and declare it as an external reward, which mixes can name."
    )
    head.add_argument("id", help="see `dailies campaigns ls`")
    head.add_argument("name", help="name of the new reward")
    head.add_argument(
        "--mix", default="mini", metavar="MIX", help="mix whose rewards and networks describe the clips (default: mini)"
    )


@contextmanager
def open_campaigns(options: argparse.Namespace) -> Iterator[Campaigns]:
    with closing(Library(Workspace.from_env(options.workspace))) as library:
        yield Campaigns(library)


def list_campaigns(options: argparse.Namespace) -> None:
    with open_campaigns(options) as campaigns:
        pairs = [(campaign, campaigns.progress(campaign.id)) for campaign in campaigns.list()]
    if options.json:
        facts = [({"id": entry.id, "title": entry.title, "open": entry.is_open}, progress) for entry, progress in pairs]
        print_json([{**names, **asdict(progress)} for names, progress in facts])
        return
    rows = [
        (
            campaign.id,
            shorten(campaign.title, 40),
            "open" if campaign.is_open else "closed",
            progress.pairs,
            f"{progress.votes}/{progress.target}",
        )
        for campaign, progress in pairs
    ]
    print_table(("id", "title", "state", "pairs", "votes"), rows)


def create(options: argparse.Namespace) -> None:
    spec = read_spec(options)
    with open_campaigns(options) as campaigns:
        campaign, jobs = create_campaign(JobQueue(campaigns.store), campaigns, spec, options.mix)
        if jobs:
            ensure_worker(campaigns.store.workspace)
        pairs = campaigns.progress(campaign.id).pairs
    jobs_text = f"; {len(jobs)} jobs make its missing clips" if jobs else ""
    sentence = f"Campaign {campaign.id} has {pairs} pairs{jobs_text}. Label it in the page's Label tab."
    print_result(options, {"id": campaign.id, "pairs": pairs, "jobs": [job.id for job in jobs]}, sentence)


def read_spec(options: argparse.Namespace) -> CampaignSpec:
    """Return the options as a `CampaignSpec`. Raises ConfigError."""
    entrants = [dict(zip(("model", "adapter"), name.split("+", 1), strict=False)) for name in options.entrant]
    try:
        return CampaignSpec(
            title=options.title,
            prompts=_prompts(options) if options.prompts else (),
            entrants=tuple(entrants),
            clip_ids=tuple(options.clips),
            takes=options.variations,
            settings=dict(read_setting(text) for text in options.set),
            labellers_per_pair=options.people,
            target_votes=options.target,
            strategy=options.strategy,
            axes=tuple(options.axis),
            seed=options.seed,
        )
    except ValidationError as error:
        raise ConfigError(validation_message(error, "The campaign", CampaignSpec.model_fields)) from error


def _prompts(options: argparse.Namespace) -> tuple[str | PicturedPrompt, ...]:
    """Return the prompts of the file, with their pictures copied into the workspace."""
    rows = stored_rows(options.prompts, Workspace.from_env(options.workspace))
    fields = [row.fields() for row in rows]
    return tuple(row["prompt"] if len(row) == 1 else PicturedPrompt(**row) for row in fields)


def show_campaign(options: argparse.Namespace) -> None:
    with open_campaigns(options) as campaigns:
        campaign, progress = campaigns.get(options.id), campaigns.progress(options.id)
        votes, judges = campaigns.votes(options.id), campaign_judges(campaigns, options.id)
    ranking, quality = rank(vote_table(votes)), agreement(votes)
    if options.json:
        facts = {"campaign": campaign.spec.model_dump(mode="json"), "progress": asdict(progress)}
        print_json(
            {
                **facts,
                "ranking": asdict(ranking),
                "agreement": asdict(quality),
                "judges": [asdict(found) for found in judges],
            }
        )
        return
    print(
        f"{campaign.title}: {progress.votes} of {progress.target} votes on {progress.pairs} pairs, "
        f"{progress.assignable} can be voted on"
    )
    alpha = (
        "not enough votes yet"
        if quality.alpha is None
        else f"{quality.alpha:.2f} ({quality.low or 0:.2f} to {quality.high or 1:.2f})"
    )
    print(f"Agreement (Krippendorff's alpha): {alpha}\n")
    rows = [
        (
            entry.rank,
            entry.entrant,
            f"{entry.strength:+.2f}",
            f"{entry.low:+.2f} to {entry.high:+.2f}",
            f"{entry.win_rate:.0%}",
        )
        for entry in ranking.standings
    ]
    print_table(("rank", "entrant", "strength", "95 %", "wins"), rows)
    by_labeller = {labeller.labeller: labeller for labeller in quality.labellers}
    print()
    labeller_rows = [
        (
            status.labeller,
            status.done,
            status.remaining,
            decimal(status.votes_per_hour),
            *quality_columns(by_labeller.get(status.labeller)),
        )
        for status in progress.labellers
    ]
    print_table(("labeller", "done", "remaining", "votes/h", "left side", "consistent"), labeller_rows)
    if judges:
        print()
        print_judges(judges)


def quality_columns(labeller: Any) -> tuple[str, str]:
    """Return a labeller's share of left choices and their consistency, or dashes for None."""
    return (decimal(labeller.left.value), decimal(labeller.consistent.value)) if labeller else ("-", "-")


def export(options: argparse.Namespace) -> None:
    with open_campaigns(options) as campaigns:
        campaign = campaigns.get(options.id)
        if options.layout == VOTES_LAYOUT:
            if options.judge:
                raise ConfigError("--judge adds pairs: the layout votes has the votes of people only. Leave one out.")
            count = export_votes(campaigns, campaign.id, options.target)
            return print_result(options, {"votes": count}, f"{count} votes are in {options.target}.")
        if options.layout not in LAYOUTS:
            hint = did_you_mean(options.layout, [*LAYOUTS, VOTES_LAYOUT])
            raise ConfigError(f"There is no layout '{options.layout}'. {hint}")
        votes = campaigns.votes(campaign.id)
        pairs = preference_pairs(votes, min_margin=options.min_margin)
        if options.judge:
            judged = judge_votes(campaigns.store, campaign.id, options.judge)
            pairs += checked_preferences(options.judge, votes, judged, options.judge_agreement)
        left_out = export_pairs(campaigns.store, pairs, options.target, options.layout, campaign.title)
    count = len(pairs) - len(left_out)
    print_result(
        options,
        {"pairs": count, "left_out": left_out},
        "\n".join([*left_out, f"{count} pairs are in {options.target}."]),
    )


def import_source(options: argparse.Namespace) -> None:
    with open_campaigns(options) as campaigns:
        if options.campaign:
            votes = import_votes(campaigns, options.campaign, options.source)
            sentence = f"{votes.stored} votes are new, {votes.known} were already stored."
            return print_result(options, asdict(votes), "\n".join([*votes.skipped, sentence]))
        pairs = import_pairs(campaigns.store, options.source, options.name or options.source.stem)
    facts = {"file": str(pairs.file), "pairs": pairs.pairs, "skipped": list(pairs.skipped)}
    sentence = f"{pairs.pairs} pairs: train on them with `dailies train PRESET --set pairs={pairs.file}`."
    print_result(options, facts, "\n".join([*pairs.skipped, sentence]))


def train_reward_head(options: argparse.Namespace) -> None:
    """Train a head, with progress, and print its accuracies."""
    meter = ProgressMeter(sys.stderr)
    with open_campaigns(options) as campaigns:
        folder = _user_presets(campaigns) / "external_rewards"
        for step in train_campaign_head(campaigns, options.id, options.mix, folder, options.name):
            if isinstance(step, HeadProgress):
                meter.show(JobProgress(phase="score", step=step.done, of=step.total))
                continue
            meter.clear()
            card = step.card
            sentence = (
                f"Accuracy on held-out prompts: {decimal(card.accuracy)} (learned mix: {decimal(card.mix_accuracy)}, "
                f"{card.best_reward} alone: {decimal(card.best_reward_accuracy)}), from {card.votes} votes on "
                f"{card.pairs} pairs. Declared in {step.file}: name it '{card.key}' in the weights of a mix."
            )
            print_result(options, {**card.model_dump(mode="json"), "file": str(step.file)}, sentence)


def _user_presets(campaigns: Campaigns) -> Path:
    """Return the folder for the user's presets: DAILIES_PRESETS, or the workspace's."""
    user_presets = os.environ.get("DAILIES_PRESETS")
    return Path(user_presets).expanduser() if user_presets else campaigns.store.workspace.saved


def learn_mix(options: argparse.Namespace) -> None:
    with open_campaigns(options) as campaigns:
        folder = _user_presets(campaigns) / "rewards"
        saved = learn_campaign_mix(campaigns, options.id, options.mix, folder, options.name)
    facts = {**asdict(saved.learned), "file": str(saved.file)}
    weights = ", ".join(f"{key} {weight:.3f}" for key, weight in saved.learned.weights.items() if weight)
    sentence = f"Accuracy on held-out prompts: {decimal(saved.learned.accuracy)} (equal weights: "
    sentence += f"{decimal(saved.learned.equal_accuracy)}). Weights: {weights}. Saved as {saved.file}."
    print_result(options, facts, sentence)
