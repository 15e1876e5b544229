"""Data sets that are known by a short name. Imports no torch."""

import re
from dataclasses import dataclass

from engine.config.data_sets import NAME
from engine.errors import ConfigError
from engine.hub.repository import HubSource
from rewards.errors import did_you_mean

HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDataSet:
    """Data set by its key: `repository`, patterns of `files`, and the preset that trains on it."""

    key: str
    title: str
    repository: str
    files: tuple[str, ...] = ()
    preset: str = ""


KNOWN = (
    KnownDataSet(
        key="videodpo10k",
        title="VideoDPO-10k: pairs of VideoCrafter2 clips, arXiv:2412.14167",
        repository="CodeGoat24/VideoDPO",
        files=("train_data.json", "winvideos.zip", "losevideos.zip"),
        preset="dpo_videodpo10k",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedDataSet:
    """Request for a data set: repository, name in the workspace, patterns of files, and split."""

    source: HubSource
    name: str
    files: tuple[str, ...] = ()
    split: str = "train"
    known: KnownDataSet | None = None


def find_wanted(text: str, name: str | None = None, files: tuple[str, ...] = (), split: str = "train") -> WantedDataSet:
    """Return what a key or a hub id means. Raises ConfigError for neither, and for a bad name."""
    known = next((one for one in KNOWN if one.key == text), None)
    match = HUB_ID.fullmatch(known.repository if known else text)
    if match is None:
        suggestion = did_you_mean(text, [one.key for one in KNOWN])
        raise ConfigError(f"'{text[:100]}' is no hub id such as 'owner/name', and no key of a data set. {suggestion}")
    ending = "" if split == "train" else f"--{split}"
    name = name or (known.key if known else match["id"].replace("/", "--") + ending)
    if not NAME.fullmatch(name):
        raise ConfigError(f"A data set's name has letters, digits, '.', '_' and '-', but got '{name[:100]}'.")
    source = HubSource(repository=match["id"], revision=match["revision"] or "main", kind="dataset")
    return WantedDataSet(
        source=source, name=name, files=files or (known.files if known else ()), split=split, known=known
    )
