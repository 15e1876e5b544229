"""Recovery of database rows from clip files, after the database was lost or restored from a backup."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from engine.request import GenerationRequest
from engine.storage.clip_files import FILES, SIDECAR
from engine.storage.library import ClipRecord, Library
from engine.workspace import CLIP_ID, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """`added` is the number of recovered clips; folders of `damaged` clips are incomplete and unchanged."""

    added: int
    damaged: tuple[str, ...]


def rebuild(workspace: Workspace) -> Rebuilt:
    """Add every clip with files but without a row, the oldest first.

    Scores, stars, votes and jobs stay lost.
    """
    store = Library(workspace, beside_clips=True)
    try:
        records, damaged = [], []
        for sidecar in sorted(workspace.clips.glob(f"*/[!.]*/{SIDECAR}"), key=lambda path: path.stat().st_mtime_ns):
            record = _record_of(sidecar)
            if record is None:
                damaged.append(sidecar.parent.name)
            else:
                records.append(record)
        return Rebuilt(added=store.add_missing(records), damaged=tuple(damaged))
    finally:
        store.close()


def _record_of(sidecar: Path) -> ClipRecord | None:
    """Return the record of a clip's folder; None when the folder is incomplete."""
    folder, at = sidecar.parent, datetime.fromtimestamp(sidecar.stat().st_mtime, UTC)
    if not CLIP_ID.fullmatch(folder.name) or not all((folder / name).is_file() for name in FILES):
        return None
    try:
        about = json.loads(sidecar.read_bytes())
        num_frames, height, width = (int(size) for size in about["shape"])
        request = GenerationRequest(**about["request"]) if about["request"] else None
        return ClipRecord(
            id=folder.name,
            prompt=str(about["prompt"]),
            source="generated" if request else "imported",
            num_frames=num_frames,
            width=width,
            height=height,
            fps=float(about["fps"]),
            model=request.model if request else None,
            adapter=request.adapter_label if request else None,
            request=request.model_dump(mode="json") if request else None,
            seed=request.seed if request else None,
            created_at=at,
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
