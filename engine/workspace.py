"""`Workspace`: the folder that holds everything one installation makes, and the only place that builds paths in it.

dailies.db              the database (unless DAILIES_DATABASE_URL names another)
clips/<2>/<id>/         one folder a clip: frames.mkv clip.mp4 poster.jpg request.json
adapters/<name>/        LoRA weights of a model, see engine.runs.adapters
runs/<id>/              what a training job fills, see engine.runs.run
curricula/<id>/         where a curriculum is, see engine.runs.curriculum_state
uploads/                videos from a browser, until their job has imported them
pictures/<sha256>.png   keyframes, drawn or given
prompts/                encoded prompts, see engine.families.prompt_cache; may be deleted at any time
saved/<kind>/*.toml     presets that were saved here, laid over the shipped ones
cache/                  metrics made quick to read, kernels that MIOpen found; may be deleted at any time
trackio/                the runs' metrics once more, for Trackio's dashboard
tensorboard/<run>/      runs that were exported for TensorBoard
tmp/                    folders being written; what a dead process left here is swept away
jobs/<id>.log           one log a job
spread/<id>/            many small things on their way to a cluster and back, see engine.execution.batch_folder
worker/                 the warm worker: its lock, its state, its log; whether the queue is paused
backups/                copies of the database, see engine.storage.backups
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engine.errors import StoreError

CLIP_ID = re.compile(r"[0-9a-f]{16}")
JOB_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths under `root`; nothing is made until `prepare` or the first write."""

    root: Path

    def __post_init__(self) -> None:
        """Raises StoreError for what is no path: a NUL, a loop of links, `~` where no home is known."""
        try:
            object.__setattr__(self, "root", Path(self.root).expanduser().resolve())
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(
                f"The workspace {str(self.root)[:200]!r} cannot be used: {str(error).rstrip('.')}. Choose another "
                "folder with --workspace or DAILIES_WORKSPACE."
            ) from error

    @classmethod
    def from_env(cls, folder: str | Path | None = None) -> Self:
        """The folder given, else $DAILIES_WORKSPACE, else ./workspace."""
        return cls(Path(folder or os.environ.get("DAILIES_WORKSPACE") or "workspace"))

    def prepare(self) -> Self:
        """Make the folders. Raises StoreError when the place cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)  # a new one is for its owner alone
            for folder in (self.clips, self.tmp, self.jobs, self.worker, self.backups):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror or str(error)
            raise StoreError(
                f"The workspace {self.root} cannot be used: {reason}. Choose a folder that you may write with "
                "--workspace or DAILIES_WORKSPACE."
            ) from error
        return self

    @property
    def database(self) -> Path:
        return self.root / "dailies.db"

    @property
    def clips(self) -> Path:
        return self.root / "clips"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def curricula(self) -> Path:
        return self.root / "curricula"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def worker(self) -> Path:
        return self.root / "worker"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def backups_lock(self) -> Path:
        """Held while the database is copied."""
        return self.root / "backups.lock"

    @property
    def setup_lock(self) -> Path:
        """Held while the database is made or migrated."""
        return self.root / "setup.lock"

    @property
    def clips_lock(self) -> Path:
        """Held while a clip's finished folder is put into its place."""
        return self.root / "clips.lock"

    @property
    def page_lock(self) -> Path:
        """Held by the first page that serves this workspace."""
        return self.root / "page.lock"

    @property
    def uploads(self) -> Path:
        """What browsers sent; a video lies here until its job has imported it."""
        return self.root / "uploads"

    @property
    def pairs(self) -> Path:
        """Imported pairs of preferred and rejected clips, see engine.labelling.pair_exchange."""
        return self.root / "pairs"

    @property
    def pictures(self) -> Path:
        return self.root / "pictures"

    @property
    def prompts(self) -> Path:
        """Encoded prompts: a cache."""
        return self.root / "prompts"

    @property
    def cache(self) -> Path:
        """What can be made again from what lies elsewhere."""
        return self.root / "cache"

    @property
    def metric_columns(self) -> Path:
        """The runs' metrics as columns, see engine.runs.metrics."""
        return self.cache / "metrics"

    @property
    def saved(self) -> Path:
        """Presets that were saved from the page, laid over the shipped ones."""
        return self.root / "saved"

    def spread(self, name: str) -> Path:
        """Where many things go to a cluster, and come back, see engine.execution.batch_folder."""
        return self.root / "spread" / name

    @property
    def miopen(self) -> Path:
        """Convolution kernels that ROCm's MIOpen found and compiled on this machine."""
        return self.cache / "miopen"

    @property
    def trackio(self) -> Path:
        """Trackio's store (TRACKIO_DIR)."""
        return self.root / "trackio"

    @property
    def tensorboard(self) -> Path:
        """Runs that were exported for TensorBoard."""
        return self.root / "tensorboard"

    @property
    def worker_lock(self) -> Path:
        """Held by the one warm worker for as long as it lives."""
        return self.worker / "worker.lock"

    @property
    def pause_flag(self) -> Path:
        """There while the queue is paused: no further job is started."""
        return self.worker / "paused"

    @property
    def worker_state(self) -> Path:
        return self.worker / "worker.json"

    @property
    def worker_log(self) -> Path:
        return self.worker / "worker.log"

    @property
    def release_flag(self) -> Path:
        """Exists while somebody asks the worker to let go of its model."""
        return self.worker / "release"

    def clip_folder(self, clip_id: str) -> Path:
        """Where a clip's files lie. Raises StoreError when `clip_id` is not the name of a clip (a path, for one)."""
        if not CLIP_ID.fullmatch(clip_id):
            raise StoreError(f"A clip's id is 16 hex digits, but got {clip_id[:40]!r}.")
        return self.clips / clip_id[:2] / clip_id

    def job_log(self, job_id: str) -> Path:
        if not JOB_ID.fullmatch(job_id):
            raise StoreError(f"A job's id is 8 hex digits, but got {job_id[:40]!r}.")
        return self.jobs / f"{job_id}.log"
