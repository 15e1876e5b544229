"""`dailies weights`: list, download and check the networks of the rewards."""

import argparse
import sys
from pathlib import Path
from typing import Any

from engine.cli.options.shared import Verbs
from engine.cli.terminal.output import print_json, print_table
from engine.cli.terminal.transfer_meter import ask, is_interactive
from engine.config.reward_availability import check_rewards, missing_networks, why_rewards_unavailable
from engine.config.schema import TrainPreset
from engine.hub.permission import is_forbidden
from rewards.networks.cache import read_tensors
from rewards.weights.catalog import (
    PRESENT,
    WEIGHTS,
    WeightsState,
    files_of,
    find_weights,
    has_known_checksum,
    resolve,
    status,
)


def build_weights(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.add("ls", list_weights, help="list networks with size, licence, state")
    getting = verbs.add("get", get, help="download networks that are not on this machine")
    getting.add_argument("keys", nargs="+", metavar="KEY", help="key of a network, see `dailies weights ls`")
    checking = verbs.add("check", check, help="check the files on this machine and their checksums")
    checking.add_argument("keys", nargs="*", metavar="KEY", help="default: all networks on this machine")


def list_weights(options: argparse.Namespace) -> None:
    states = [status(key) for key in WEIGHTS]
    if options.json:
        print_json([to_dict(state) for state in states])
        return
    head = ("key", "title", "used by", "size", "licence", "state")
    print_table(head, [to_row(state) for state in states])


def to_row(state: WeightsState) -> tuple[str, ...]:
    weights = state.weights
    used_by, size = ", ".join(weights.used_by), f"{weights.size_mb:g} MB"
    return weights.key, weights.title, used_by, size, weights.licence, state.state


def to_dict(state: WeightsState) -> dict[str, Any]:
    weights = state.weights
    return {
        "key": weights.key,
        "title": weights.title,
        "used_by": list(weights.used_by),
        "size_mb": weights.size_mb,
        "licence": weights.licence,
        "source": weights.source.description,
        "state": state.state,
        "path": str(state.path) if state.path else None,
    }


def get(options: argparse.Namespace) -> None:
    for key in options.keys:
        find_weights(key)
    paths = {key: resolve(key, allow_download=True, progress=DownloadMeter(key)) for key in options.keys}
    if options.json:
        print_json({key: str(path) for key, path in paths.items()})
        return
    for key, path in paths.items():
        print(f"{key}  {path}")


def offer_weights(preset: TrainPreset) -> None:
    """Ask a person at a terminal whether to download the missing networks of the rewards.

    Raises ConfigError when one of them is missing after that, or without a terminal.
    """
    missing = missing_networks(preset)
    fetchable = bool(missing) and all(weights.source.downloadable for weights in missing.values())
    if fetchable and is_interactive() and not is_forbidden():
        lines = [why_rewards_unavailable(preset), *(f"{one.title}: {one.licence}" for one in missing.values())]
        print("\n".join(lines), file=sys.stderr)
        if ask("Download?"):
            for key in missing:
                resolve(key, allow_download=True, progress=DownloadMeter(key))
    check_rewards(preset)


def check(options: argparse.Namespace) -> None:
    """Read every file.

    Raises RewardError for the first that is damaged or whose checksum is not the published one.
    """
    keys = options.keys or [key for key in WEIGHTS if status(key).state == PRESENT]
    verdicts = {key: check_file(key, resolve(key)) for key in keys}
    if options.json:
        print_json(verdicts)
        return
    print_table(("key", "verdict"), list(verdicts.items()))


def check_file(key: str, path: Path) -> str:
    """Return a line about a readable file. Raises RewardError for a damaged one."""
    checksum = "checksum as published" if has_known_checksum(key, path) else "no published checksum to compare with"
    files = files_of(path)
    if any(file.suffix in (".onnx", ".npz") for file in files):
        return checksum
    return f"{sum(len(read_tensors(file)) for file in files)} tensors, {checksum}"


class DownloadMeter:
    """A line on stderr with the progress of a download; without a terminal, only its end."""

    def __init__(self, key: str) -> None:
        self._key, self._percent = key, -1

    def __call__(self, done: int, total: int) -> None:
        percent = 100 * done // max(total, 1)
        if percent == self._percent or not (sys.stderr.isatty() or percent == 100):
            return
        self._percent = percent
        end = "\n" if percent == 100 else ""
        sys.stderr.write(f"\r{self._key}: {percent} % of {total / 1e6:.1f} MB{end}")
        sys.stderr.flush()
