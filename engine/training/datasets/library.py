"""Data sets of the hub in a workspace: plan, download, list and removal. Imports no torch.

Files stay in the hub's cache. datasets/<name>/ of the workspace has links to them, what was unpacked, the table, and
`dataset.json`, which is written last: a folder without it is no data set.
"""

import io
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from engine.config.data_sets import DataKind, table_of
from engine.errors import ConfigError, HubError, StoreError
from engine.files.atomic import write_text_atomic
from engine.hub.cached import cached_b, find_damaged, remove, verified_b
from engine.hub.download import (
    SPARE_B,
    DownloadPlan,
    Progress,
    download,
    fetch_head,
    fetch_tail,
    free_b,
)
from engine.hub.listing import HubFile, HubListing, list_files
from engine.hub.permission import check_permitted
from engine.hub.repository import HubSource
from engine.hub.selection import Needs
from engine.storage.temp_folders import replaced_folder
from engine.training.datasets.archives import is_archive, unpack, unpacked_folder
from engine.training.datasets.catalog import WantedDataSet
from engine.training.datasets.columns import PARQUET, columns_of, footer_columns, one_kind, unknown_layout
from engine.training.datasets.selection import WANTED, choose_files
from engine.training.datasets.tables import FILES, TABLE_KINDS, Made, make_table
from engine.workspace import Workspace
from rewards.models import FrozenModel

CARD = "dataset.json"
END_B = 2**20  # of the end of a Parquet file, or the head of another table, for the names of its columns


class DataSetCard(FrozenModel):
    """Content and origin of a data set of the workspace; `left_out` counts rows by the reason."""

    name: str
    kind: DataKind
    rows: int
    left_out: dict[str, int] = Field({})
    repository: str
    revision: str
    commit: str
    split: str = "train"
    files: tuple[str, ...]
    size_b: int
    licence: str = ""

    @property
    def source(self) -> HubSource:
        """The downloaded revision."""
        return HubSource(repository=self.repository, revision=self.commit, kind="dataset")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSetPlan:
    """Effect of a download, in bytes; `unpacked_b` estimates the size of the unpacked archives."""

    wanted: WantedDataSet
    download: DownloadPlan
    kind: DataKind | None
    unpacked_b: int
    free_b: int


def plan_data_set(workspace: Workspace, wanted: WantedDataSet, token: str | None = None) -> DataSetPlan:
    """Ask the hub what a data set consists of.

    The columns of its first table are looked at, so that a layout that is not known is refused before the download.
    Raises ConfigError for it, which lists the columns, and HubError: downloads are forbidden, no network, no access.
    """
    check_permitted()
    listing = list_files(wanted.source, token)
    by_path = {file.path: file for file in listing.files}
    paths = choose_files(wanted.source.repository, by_path, wanted.files, wanted.split)
    files = tuple(by_path[path] for path in paths)
    unpacked_b = sum(file.size_b for file in files if is_archive(file.path))
    kind = None if unpacked_b else _kind_before(wanted, listing, files, token)
    plan = DownloadPlan(listing=listing, files=files)
    return DataSetPlan(
        wanted=wanted, download=plan, kind=kind, unpacked_b=unpacked_b, free_b=min(free_b(), free_b(workspace.root))
    )


def _kind_before(
    wanted: WantedDataSet, listing: HubListing, files: tuple[HubFile, ...], token: str | None
) -> DataKind | None:
    """Return the kind by the columns of the tables; None where only the download shows it."""
    tables = [file for file in files if file.path.endswith(TABLE_KINDS)]
    folders = {Path(file.path).parent: file for file in tables}.values()  # shards of one folder are alike
    if len(tables) > 1 and any(not file.path.endswith(PARQUET) for file in tables):
        return None  # metadata.json and pair.json, for one
    columns = {file.path: _columns(listing, file, token) for file in folders}
    if not columns or not all(columns.values()):
        return None
    kind = one_kind(wanted.source.repository, columns)
    if kind is None:
        raise unknown_layout(wanted.source.repository, columns)
    return kind


def _columns(listing: HubListing, file: HubFile, token: str | None) -> list[str]:
    """Return the columns of a table that is not downloaded yet; [] where they are unknown."""
    if file.path.endswith(PARQUET):
        return footer_columns(io.BytesIO(fetch_tail(listing, file, END_B, token)))
    head = fetch_head(listing, file, END_B, token)
    if len(head) < file.size_b:
        if file.path.endswith(".json"):
            return []
        head = head[: head.rfind(b"\n") + 1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(file.path).name
        path.write_bytes(head)
        with suppress(ConfigError):  # the whole file is verified and read after the download
            return columns_of(path)
    return []


def fetch_data_set(
    workspace: Workspace, plan: DataSetPlan, progress: Progress | None = None, token: str | None = None
) -> DataSetCard:
    """Download what is missing, make the data set's folder in the workspace, and return its card.

    Raises HubError as `engine.hub.download.download` does, ConfigError for a layout that is not known or an archive
    that is damaged or too large, StoreError when the workspace cannot be written.
    """
    if (needed := plan.download.remaining_b + plan.unpacked_b) and needed + SPARE_B > plan.free_b:
        raise HubError(
            f"{needed / 1e9:.1f} GB are needed for the download and what is unpacked, but the disk has "
            f"{plan.free_b / 1e9:.1f} GB free: free space, or set HF_HOME or DAILIES_WORKSPACE to another disk."
        )
    (snapshot,) = download((plan.download,), progress, token)
    wanted, listing = plan.wanted, plan.download.listing
    try:
        with replaced_folder(workspace.prepare().data_sets / wanted.name) as partial:
            _fill(partial / FILES, snapshot, plan.download.files, free_b(workspace.root) - SPARE_B)
            card = _card(plan, make_table(wanted.source.repository, partial))
            write_text_atomic(partial / CARD, card.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise StoreError(f"The data set '{listing.source.repository}' cannot be written: {error}.") from error
    return card


def _card(plan: DataSetPlan, made: Made) -> DataSetCard:
    listing = plan.download.listing
    return DataSetCard(
        name=plan.wanted.name,
        kind=made.kind,
        rows=made.rows,
        left_out=dict(made.left_out.most_common(20)),
        repository=listing.source.repository,
        revision=listing.source.revision,
        commit=listing.commit,
        split=plan.wanted.split,
        files=tuple(file.path for file in plan.download.files),
        size_b=plan.download.size_b,
        licence=listing.licence,
    )


def _fill(folder: Path, snapshot: Path, files: tuple[HubFile, ...], room_b: int) -> None:
    """Link the downloaded files, and unpack the archives."""
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_archive(file.path):
            room_b -= unpack(snapshot / file.path, folder / unpacked_folder(file.path), WANTED, room_b)
        else:
            path.unlink(missing_ok=True)  # of an archive with the same file
            os.symlink((snapshot / file.path).resolve(), path)


def data_sets(workspace: Workspace) -> list[DataSetCard]:
    """Return the cards of the workspace's data sets by name. Folders without a readable card are left out."""
    cards = (read_card(workspace, folder.name) for folder in sorted(workspace.data_sets.glob("[!.]*")))
    return [card for card in cards if card is not None]


def read_card(workspace: Workspace, name: str) -> DataSetCard | None:
    """Return a data set's card; None for one that is not there or damaged."""
    try:
        return DataSetCard.model_validate_json((workspace.data_sets / name / CARD).read_bytes())
    except (OSError, ValueError):
        return None


def is_made_of(card: DataSetCard | None, plan: DataSetPlan) -> bool:
    """Return whether a data set of the workspace was made of the planned files, which the cache still has."""
    files = tuple(file.path for file in plan.download.files)
    same = card is not None and (card.commit, card.files) == (plan.download.listing.commit, files)
    return same and plan.download.remaining_b == 0


def is_usable(workspace: Workspace, card: DataSetCard) -> bool:
    """Return whether the table is there and the cache has the files."""
    snapshot = card.source.snapshot()
    return (
        table_of(workspace, card.name, card.kind).is_file()
        and snapshot is not None
        and all((snapshot / path).is_file() for path in card.files)
    )


def forget_damaged_files(card: DataSetCard, progress: Progress | None = None) -> list[str]:
    """Compare the downloaded files with their checksums, and delete those that differ.

    Returns a sentence for each; the next download replaces them.
    """
    needs, done = Needs(files=card.files), 0
    total = verified_b(card.source, needs)

    def add(size_b: int) -> None:
        nonlocal done
        done += size_b
        if progress is not None:
            progress(done, total)

    return find_damaged(card.source, needs, add, forget=True)


def remove_data_set(workspace: Workspace, card: DataSetCard) -> tuple[int, bool]:
    """Delete a data set from the workspace, and from the cache if no other one there is of its repository.

    Returns the bytes that the cache freed, and whether the files were kept. Raises HubError, StoreError.
    """
    others = any(one.repository == card.repository for one in data_sets(workspace) if one.name != card.name)
    freed = 0 if others else remove([card.source])
    try:
        shutil.rmtree(workspace.data_sets / card.name)
    except OSError as error:
        raise StoreError(f"The data set '{card.name}' cannot be deleted: {error.strerror or error}.") from error
    return freed, others


def held_b(card: DataSetCard) -> int:
    """Return the bytes that the cache holds of a data set's repository."""
    return cached_b(card.source)
