"""`dailies datasets`: list, download and remove data sets of the hub."""

import argparse
import sys
from functools import partial

from engine.cli.downloads.asking import (
    add_download_options,
    confirm_deletion,
    confirm_download,
    unneeded_in,
    with_token,
)
from engine.cli.options.shared import Verbs
from engine.cli.terminal.output import print_json, print_result, print_table
from engine.cli.terminal.transfer_meter import TransferMeter
from engine.config.data_sets import DataKind
from engine.errors import ConfigError
from engine.training.datasets.catalog import KNOWN, WantedDataSet, find_wanted
from engine.training.datasets.library import (
    DataSetCard,
    DataSetPlan,
    data_sets,
    fetch_data_set,
    forget_damaged_files,
    held_b,
    is_made_of,
    is_usable,
    plan_data_set,
    read_card,
    remove_data_set,
)
from engine.workspace import Workspace
from rewards.errors import did_you_mean

USES: dict[DataKind, str] = {
    "pairs": "dpo or kto",
    "captions": "sft",
    "ratings": "kto",
    "prompts": "grpo, nft, awm or distillation",
}
"""Algorithms that train on a kind of data."""


def build_datasets(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.add("ls", list_data_sets, help="list data sets with content, size, licence")
    getting = verbs.add(
        "get",
        get,
        help="download a data set, resume its download, or verify and repair it",
        description="Download a data set of the hub, find out what it contains (pairs of clips, clips with captions or "
        "labels, or prompts), and make a table of it that training reads by the data set's name. Every file is "
        "compared with its checksum, also when the data set is there already.",
    )
    getting.add_argument("source", metavar="ID", help="owner/name[@revision], or a key of `dailies datasets ls`")
    getting.add_argument("--split", default="train", help="split, by the names of the files (default: train)")
    getting.add_argument(
        "--files", action="append", default=[], metavar="PATTERN", help="only these files, such as 'data/*.parquet'"
    )
    getting.add_argument("--name", help="name in the workspace (default: owner--name)")
    add_download_options(getting)
    removing = verbs.add("rm", remove, help="delete a data set from the workspace, and its files from the hub's cache")
    removing.add_argument("name", metavar="NAME", help="name of a data set, see `dailies datasets ls`")
    removing.add_argument("-y", "--yes", action="store_true", help="do not ask")


def list_data_sets(options: argparse.Namespace) -> None:
    workspace = Workspace.from_env(options.workspace)
    cards = data_sets(workspace)
    states = {card.name: "usable" if is_usable(workspace, card) else "incomplete: get it again" for card in cards}
    others = [one for one in KNOWN if one.key not in states]
    if options.json:
        found = [{**card.model_dump(mode="json"), "state": states[card.name]} for card in cards]
        print_json([*found, *({"name": one.key, "repository": one.repository, "state": "missing"} for one in others)])
        return
    rows = [
        (
            card.name,
            card.repository,
            f"{card.rows:,} {card.kind}",
            f"{card.size_b / 1e9:.1f} GB",
            card.licence or "-",
            states[card.name],
        )
        for card in cards
    ]
    rows += [(one.key, one.repository, one.title, "-", "-", "not downloaded") for one in others]
    print_table(("name", "repository", "content", "size", "licence", "state"), rows)


def get(options: argparse.Namespace) -> None:
    workspace = Workspace.from_env(options.workspace)
    wanted = find_wanted(options.source, options.name, tuple(options.files), options.split)
    plan, token = with_token(partial(plan_data_set, workspace, wanted), options.token)
    card = read_card(workspace, wanted.name)
    if card is not None and is_made_of(card, plan):
        with TransferMeter(f"{wanted.name}: verify") as meter:
            problems = forget_damaged_files(card, meter.show)
        for problem in problems:
            print(problem, file=sys.stderr)
        if not problems and is_usable(workspace, card):
            return _report(options, wanted, card, 0)
    elif card is not None and card.repository != wanted.source.repository:
        raise ConfigError(f"'{wanted.name}' is a data set of '{card.repository}': choose another --name.")
    remaining_b = plan.download.remaining_b
    if remaining_b and not (options.yes or _confirm(plan, options.source)):
        raise ConfigError(f"Nothing was downloaded: run `dailies datasets get {options.source} --yes` to accept.")
    made, _ = with_token(partial(_download, workspace, plan), token)
    _report(options, wanted, made, remaining_b)


def _confirm(plan: DataSetPlan, source: str) -> bool:
    content = [f"Content: {plan.kind}"] if plan.kind else []
    content += [f"Unpacked in the workspace: about {plan.unpacked_b / 1e9:.1f} GB more"] if plan.unpacked_b else []
    return confirm_download(
        plan.wanted.known.title if plan.wanted.known else plan.wanted.source.repository,
        plan.download.size_b,
        plan.download.remaining_b,
        plan.free_b,
        plan.download.listing.licence or "unknown, see the data set's card",
        f"dailies datasets get {source}",
        more="\n".join(content),
    )


def _download(workspace: Workspace, plan: DataSetPlan, token: str | None) -> DataSetCard:
    """Download with progress on stderr, and make the table."""
    with TransferMeter(plan.wanted.name) as meter:
        return fetch_data_set(workspace, plan, meter.show, token)


def _report(options: argparse.Namespace, wanted: WantedDataSet, card: DataSetCard, downloaded_b: int) -> None:
    setting = f"{'prompts' if card.kind == 'prompts' else 'pairs'}={card.name}"
    preset = wanted.known.preset if wanted.known else "PRESET"
    command = f"dailies train {preset} --set {setting}"
    left_out = sum(card.left_out.values())
    reason = f" {left_out:,} rows were left out; of the first, {next(iter(card.left_out))}" if left_out else ""
    print_result(
        options,
        {**card.model_dump(mode="json"), "downloaded_b": downloaded_b, "set": setting, "command": command},
        f"'{card.name}' has {card.rows:,} {card.kind}.{reason} Train on them with {USES[card.kind]}: `{command}`.",
    )


def remove(options: argparse.Namespace) -> None:
    workspace = Workspace.from_env(options.workspace)
    card = read_card(workspace, options.name)
    if card is None:
        suggestion = did_you_mean(options.name, [one.name for one in data_sets(workspace)])
        raise ConfigError(f"There is no data set '{options.name}' in the workspace. {suggestion}".rstrip())
    with unneeded_in(workspace, data_set=card.name):
        pass  # before the question
    if not options.yes:
        confirm_deletion(
            f"This deletes '{card.name}' and the files of {card.repository} ({held_b(card) / 1e9:.1f} GB), unless "
            "another data set here uses them.",
            f"dailies datasets rm {card.name}",
        )
    with unneeded_in(workspace, data_set=card.name):
        freed_b, kept = remove_data_set(workspace, card)
    print_result(
        options,
        {"name": card.name, "freed_b": freed_b, "kept": kept},
        f"Deleted '{card.name}': "
        + ("its files were kept for another data set." if kept else f"{freed_b / 1e9:.1f} GB freed."),
    )
