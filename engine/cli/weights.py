"""`dailies weights`: the networks of the rewards, what is on this machine, and getting what is not."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.output import print_json, print_table

if TYPE_CHECKING:
    from rewards.weights.catalog import WeightsState


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    weights = commands.add_parser("weights", help="list, get and check the networks that rewards use")
    verbs = weights.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    verbs.add_parser("ls", parents=[shared], help="list networks with size, licence, state").set_defaults(run=list_all)
    getting = verbs.add_parser("get", parents=[shared], help="download networks that are not on this machine")
    getting.add_argument("keys", nargs="+", metavar="KEY", help="as `dailies weights ls` lists them")
    getting.set_defaults(run=get)
    checking = verbs.add_parser("check", parents=[shared], help="read the files that are there, and their checksums")
    checking.add_argument("keys", nargs="*", metavar="KEY", help="default: all that are on this machine")
    checking.set_defaults(run=check)


def list_all(options: argparse.Namespace) -> None:
    from rewards.weights.catalog import WEIGHTS, status

    found = [status(key) for key in WEIGHTS]
    if options.json:
        print_json([as_dict(one) for one in found])
        return
    head = ("key", "title", "used by", "size", "licence", "state")
    print_table(head, [row(one) for one in found])


def row(found: "WeightsState") -> tuple[str, ...]:
    weights = found.weights
    used_by, size = ", ".join(weights.used_by), f"{weights.size_mb:g} MB"
    return weights.key, weights.title, used_by, size, weights.licence, found.state


def as_dict(found: "WeightsState") -> dict[str, Any]:
    weights = found.weights
    return {
        "key": weights.key,
        "title": weights.title,
        "used_by": list(weights.used_by),
        "size_mb": weights.size_mb,
        "licence": weights.licence,
        "source": weights.source.description,
        "state": found.state,
        "path": str(found.path) if found.path else None,
    }


def get(options: argparse.Namespace) -> None:
    from rewards.weights.catalog import find_weights, resolve

    for key in options.keys:
        find_weights(key)
    paths = {key: resolve(key, allow_download=True, progress=DownloadMeter(key)) for key in options.keys}
    if options.json:
        print_json({key: str(path) for key, path in paths.items()})
        return
    for key, path in paths.items():
        print(f"{key}  {path}")


def check(options: argparse.Namespace) -> None:
    """Fails on the first file that is damaged or has another checksum than its source says."""
    from rewards.weights.catalog import PRESENT, WEIGHTS, resolve, status

    keys = options.keys or [key for key in WEIGHTS if status(key).state == PRESENT]
    verdicts = {key: verdict(key, resolve(key)) for key in keys}
    if options.json:
        print_json(verdicts)
        return
    print_table(("key", "verdict"), list(verdicts.items()))


def verdict(key: str, path: Path) -> str:
    """What is known about a file that reads well. Raises RewardError for one that does not."""
    from rewards.networks.cache import read_tensors
    from rewards.weights.catalog import files_of, has_known_checksum

    known = "checksum as published" if has_known_checksum(key, path) else "no published checksum to compare with"
    files = files_of(path)
    if any(file.suffix in (".onnx", ".npz") for file in files):
        return known
    return f"{sum(len(read_tensors(file)) for file in files)} tensors, {known}"


class DownloadMeter:
    """A line on stderr that says how much of a download is there; it moves only on a terminal."""

    def __init__(self, key: str) -> None:
        self._key, self._said = key, -1

    def __call__(self, done: int, total: int) -> None:
        percent = 100 * done // max(total, 1)
        if percent == self._said or not (sys.stderr.isatty() or percent == 100):
            return
        self._said = percent
        end = "\n" if percent == 100 else ""
        sys.stderr.write(f"\r{self._key}: {percent} % of {total / 1e6:.1f} MB{end}")
        sys.stderr.flush()
