"""`dailies campaigns`: labelling campaigns, and preference pairs out and in, seen from a shell."""

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.output import decimal, print_json, print_table, shorten
from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.labelling.campaigns import Campaigns

VOTES_LAYOUT = "votes"


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("campaigns", help="label clips in pairs: make, look at, export and import campaigns")
    verbs = parser.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    verbs.add_parser("ls", parents=[shared], help="list campaigns, newest first").set_defaults(run=show_all)
    add_create(verbs, shared)
    show = verbs.add_parser("show", parents=[shared], help="progress, agreement and ranking of a campaign")
    show.add_argument("id", help="see `dailies campaigns ls`")
    show.set_defaults(run=show_one)
    add_exchange(verbs, shared)
    add_learn(verbs, shared)


def add_create(verbs: Any, shared: argparse.ArgumentParser) -> None:
    create = verbs.add_parser(
        "create",
        parents=[shared],
        help="make a campaign",
        description="Pairs of clips of one prompt, by different entrants, or by one entrant that is given --takes 2 or "
        "more. Clips that are missing are filed as jobs.",
    )
    create.add_argument("title")
    create.add_argument("--prompts", metavar="FILE", help="a file of presets/prompts, or a path: a prompt a line")
    create.add_argument(
        "--entrant", action="append", default=[], metavar="MODEL[+ADAPTER]", help="who competes; give several"
    )
    create.add_argument("--clips", nargs="+", default=[], metavar="ID", help="instead: clips of the library")
    create.add_argument("--takes", type=int, default=1, metavar="N", help="clips of a prompt by each entrant")
    create.add_argument("--people", type=int, default=1, metavar="N", help="how many people see each pair")
    create.add_argument("--target", type=int, metavar="N", help="votes after which it is done (default: all pairs)")
    create.add_argument("--strategy", default="random", metavar="NAME", help="random, uncertain or dissent")
    create.add_argument("--axis", action="append", default=[], metavar="NAME", help="judge this as well; give several")
    create.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the clips: num_frames=33")
    create.add_argument("--mix", metavar="MIX", help="score the clips that are made by this mix")
    create.add_argument("--seed", type=int, default=0, metavar="N")
    create.set_defaults(run=create_one)


def add_exchange(verbs: Any, shared: argparse.ArgumentParser) -> None:
    out = verbs.add_parser("export", parents=[shared], help="write a campaign's preferred pairs, or its votes")
    out.add_argument("id", help="see `dailies campaigns ls`")
    out.add_argument("target", type=Path, help="a new folder; a file for `--layout votes`")
    layout = "huggingface (default), trl, videodpo, or votes (CSV)"
    out.add_argument("--layout", default="huggingface", metavar="NAME", help=layout)
    out.add_argument(
        "--min-margin", type=float, default=0.0, metavar="M", help="only pairs that people agree on so far"
    )
    out.set_defaults(run=export)
    into = verbs.add_parser(
        "import",
        parents=[shared],
        help="bring in pairs of any of these layouts, or votes",
        description="A folder (or a table) of pairs comes in as a file that `dailies train PRESET --set pairs=FILE` "
        "takes; a CSV of votes is added to the campaign that --campaign names.",
    )
    into.add_argument("source", type=Path, help="a folder, a table, or a CSV of votes")
    into.add_argument("--name", help="what to call the pairs (default: the source's name)")
    into.add_argument("--campaign", metavar="ID", help="read votes into this campaign")
    into.set_defaults(run=import_source)


def add_learn(verbs: Any, shared: argparse.ArgumentParser) -> None:
    learn = verbs.add_parser(
        "learn",
        parents=[shared],
        help="learn the weights of a mix from a campaign's votes",
        description="The weights under which the clip that people prefer tends to have the higher total, saved as a "
        "mix of the workspace's presets (or of the folder that DAILIES_PRESETS names).",
    )
    learn.add_argument("id", help="see `dailies campaigns ls`")
    learn.add_argument("name", help="what to call the mix")
    learn.add_argument("--mix", required=True, metavar="MIX", help="whose rewards, as it has scored the clips")
    learn.set_defaults(run=learn_mix)


@contextmanager
def opened(options: argparse.Namespace) -> "Iterator[Campaigns]":
    from engine.labelling.campaigns import Campaigns
    from engine.storage.library import Library
    from engine.workspace import Workspace

    store = Library(Workspace.from_env(options.workspace))
    try:
        yield Campaigns(store)
    finally:
        store.close()


def show_all(options: argparse.Namespace) -> None:
    with opened(options) as campaigns:
        found = [(campaign, campaigns.progress(campaign.id)) for campaign in campaigns.list()]
    if options.json:
        print_json([{"id": one.id, "title": one.title, "open": one.is_open, **asdict(far)} for one, far in found])
        return
    rows = [
        (one.id, shorten(one.title, 40), "open" if one.is_open else "closed", far.pairs, f"{far.votes}/{far.target}")
        for one, far in found
    ]
    print_table(("id", "title", "state", "pairs", "votes"), rows)


def create_one(options: argparse.Namespace) -> None:
    from engine.jobs.handlers.campaign_clips import create_campaign
    from engine.jobs.queue import JobQueue
    from engine.jobs.worker_control import ensure_worker

    spec = read_spec(options)
    with opened(options) as campaigns:
        campaign, jobs = create_campaign(JobQueue(campaigns.store), campaigns, spec, options.mix)
        if jobs:
            ensure_worker(campaigns.store.workspace)
        pairs = campaigns.progress(campaign.id).pairs
    if options.json:
        print_json({"id": campaign.id, "pairs": pairs, "jobs": [job.id for job in jobs]})
    else:
        waiting = f"; {len(jobs)} jobs make its clips" if jobs else ""
        print(f"Campaign {campaign.id} has {pairs} pairs{waiting}. Label it in the page's Label tab.")


def read_spec(options: argparse.Namespace) -> Any:
    """The options as a `CampaignSpec`. Raises ConfigError."""
    from pydantic import ValidationError

    from engine.config.presets import read_prompts
    from engine.labelling.campaign_spec import CampaignSpec
    from engine.suggestions import validation_message

    entrants = [dict(zip(("model", "adapter"), name.split("+", 1), strict=False)) for name in options.entrant]
    try:
        return CampaignSpec(
            title=options.title,
            prompts=tuple(read_prompts(options.prompts)) if options.prompts else (),
            entrants=tuple(entrants),
            clip_ids=tuple(options.clips),
            takes=options.takes,
            settings=dict(read_setting(text) for text in options.set),
            labellers_per_pair=options.people,
            target_votes=options.target,
            strategy=options.strategy,
            axes=tuple(options.axis),
            seed=options.seed,
        )
    except ValidationError as error:
        raise ConfigError(validation_message(error, "The campaign", CampaignSpec.model_fields)) from error


def read_setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set takes KEY=VALUE, but got '{text}'.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def show_one(options: argparse.Namespace) -> None:
    from engine.labelling.stats.agreement import agreement
    from engine.labelling.stats.ranking import rank, vote_table

    with opened(options) as campaigns:
        campaign, far = campaigns.get(options.id), campaigns.progress(options.id)
        votes = campaigns.votes(options.id)
    ranking, trust = rank(vote_table(votes)), agreement(votes)
    if options.json:
        found = {"campaign": campaign.spec.model_dump(mode="json"), "progress": asdict(far)}
        print_json({**found, "ranking": asdict(ranking), "agreement": asdict(trust)})
        return
    print(f"{campaign.title}: {far.votes} of {far.target} votes on {far.pairs} pairs, {far.askable} can be voted on")
    alpha = (
        "not to be had yet"
        if trust.alpha is None
        else f"{trust.alpha:.2f} ({trust.low or 0:.2f} to {trust.high or 1:.2f})"
    )
    print(f"Agreement (Krippendorff's alpha): {alpha}\n")
    rows = [
        (one.rank, one.entrant, f"{one.strength:+.2f}", f"{one.low:+.2f} to {one.high:+.2f}", f"{one.win_rate:.0%}")
        for one in ranking.standings
    ]
    print_table(("rank", "entrant", "strength", "95 %", "wins"), rows)
    people = {person.labeller: person for person in trust.labellers}
    print()
    quality = [
        (one.labeller, one.done, one.remaining, decimal(one.votes_per_hour), *said(people.get(one.labeller)))
        for one in far.labellers
    ]
    print_table(("labeller", "done", "left to do", "votes/h", "left side", "consistent"), quality)


def said(person: Any) -> tuple[str, str]:
    return (decimal(person.left.value), decimal(person.consistent.value)) if person else ("-", "-")


def export(options: argparse.Namespace) -> None:
    from engine.labelling.pair_exchange import LAYOUTS, export_pairs
    from engine.labelling.preference_pairs import preference_pairs
    from engine.labelling.vote_csv import export_votes
    from engine.suggestions import did_you_mean

    with opened(options) as campaigns:
        campaign = campaigns.get(options.id)
        if options.layout == VOTES_LAYOUT:
            count = export_votes(campaigns, campaign.id, options.target)
            return tell(options, {"votes": count}, f"{count} votes are in {options.target}.")
        if options.layout not in LAYOUTS:
            hint = did_you_mean(options.layout, [*LAYOUTS, VOTES_LAYOUT])
            raise ConfigError(f"There is no layout '{options.layout}'. {hint}")
        pairs = preference_pairs(campaigns.votes(campaign.id), min_margin=options.min_margin)
        left_out = export_pairs(campaigns.store, pairs, options.target, options.layout, campaign.title)
    count = len(pairs) - len(left_out)
    tell(
        options,
        {"pairs": count, "left_out": left_out},
        "\n".join([*left_out, f"{count} pairs are in {options.target}."]),
    )


def import_source(options: argparse.Namespace) -> None:
    from engine.labelling.pair_exchange import import_pairs
    from engine.labelling.vote_csv import import_votes

    with opened(options) as campaigns:
        if options.campaign:
            votes = import_votes(campaigns, options.campaign, options.source)
            words = f"{votes.stored} votes are new, {votes.known} were there already."
            return tell(options, asdict(votes), "\n".join([*votes.skipped, words]))
        pairs = import_pairs(campaigns.store, options.source, options.name or options.source.stem)
    facts = {"file": str(pairs.file), "pairs": pairs.pairs, "skipped": list(pairs.skipped)}
    words = f"{pairs.pairs} pairs: `dailies train PRESET --set pairs={pairs.file}` trains on them."
    tell(options, facts, "\n".join([*pairs.skipped, words]))


def learn_mix(options: argparse.Namespace) -> None:
    import os

    from engine.labelling.stats.campaign_rewards import learn_campaign_mix

    with opened(options) as campaigns:
        users = os.environ.get("DAILIES_PRESETS")
        folder = Path(users).expanduser() if users else campaigns.store.workspace.saved
        saved = learn_campaign_mix(campaigns, options.id, options.mix, folder / "rewards", options.name)
    facts = {**asdict(saved.learned), "file": str(saved.file)}
    weights = ", ".join(f"{key} {weight:.3f}" for key, weight in saved.learned.weights.items() if weight)
    words = f"Accuracy on prompts not seen: {decimal(saved.learned.accuracy)} (equal weights: "
    words += f"{decimal(saved.learned.equal_accuracy)}). Weights: {weights}. Saved as {saved.file}."
    tell(options, facts, words)


def tell(options: argparse.Namespace, facts: Mapping[str, Any], words: str) -> None:
    if options.json:
        print_json(facts)
    else:
        print(words)
