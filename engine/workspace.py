"""`Workspace`: the folder with one installation's data, and the only place that builds paths in it.

dailies.db              the database (unless DAILIES_DATABASE_URL names another)
clips/<2>/<id>/         one folder per clip: frames.mkv clip.mp4 poster.jpg request.json
adapters/<name>/        LoRA weights of a model, see engine.runs.adapters
runs/<id>/              the output of a training job, see engine.runs.run
trash/<batch>/<run>/     deleted runs, see engine.runs.purge
datasets/<name>/        data sets of the hub, see engine.training.datasets
curricula/<id>/         the state of a curriculum, see engine.runs.curriculum_state
uploads/                videos from a browser, until their job has imported them
pictures/<sha256>.png   keyframes, generated or given
prompts/                encoded prompts, see engine.families.prompt_cache; may be deleted at any time
saved/<kind>/*.toml     presets that users saved; they override shipped presets
cache/                  parsed metrics, kernels compiled by MIOpen; may be deleted at any time
trackio/                a copy of the runs' metrics, for Trackio's dashboard
tensorboard/<run>/      runs exported for TensorBoard
tmp/                    folders being written; those of dead processes are removed
jobs/<id>.log           one log per job; <id>.jpg, a preview of the clips that it is generating
spread/<id>/            batches of small items sent to a cluster, see engine.execution.batch_folder
worker/                 the worker process: its lock, its state, its log; the pause flag of the queue
backups/                copies of the database, see engine.storage.backups
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engine.errors import StoreError
from engine.files.path_property import PathProperty

CLIP_ID = re.compile(r"[0-9a-f]{16}")
JOB_ID = re.compile(r"[0-9a-f]{8}")
NAME_LIMIT = 200  # bytes: file systems take 255, with a suffix


def is_name(text: str) -> bool:
    """Return True for a valid name of a file or folder of a workspace.

    It is no path, has no control character or half of a surrogate pair, and at most `NAME_LIMIT` bytes.
    """
    try:
        fits = 0 < len(text.encode()) <= NAME_LIMIT
    except UnicodeEncodeError:
        return False
    return fits and text.isprintable() and text not in (".", "..") and "/" not in text


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths under `root`; no folder is created before `prepare` or the first write."""

    root: Path

    def __post_init__(self) -> None:
        """Resolve `root`.

        Raises StoreError for an invalid path: a NUL, a loop of links, `~` without a home folder.
        """
        try:
            object.__setattr__(self, "root", Path(self.root).expanduser().resolve())
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(
                f"The workspace {str(self.root)[:200]!r} cannot be used: {str(error).rstrip('.')}. Choose another "
                "folder with --workspace or DAILIES_WORKSPACE."
            ) from error

    @classmethod
    def from_env(cls, folder: str | Path | None = None) -> Self:
        """Return the workspace in `folder`, else in $DAILIES_WORKSPACE, else in ./workspace."""
        return cls(Path(folder or os.environ.get("DAILIES_WORKSPACE") or "workspace"))

    def prepare(self) -> Self:
        """Create the folders. Raises StoreError when they cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)  # a new workspace is private to its owner
            for folder in (self.clips, self.tmp, self.jobs, self.worker, self.backups):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror or str(error)
            raise StoreError(
                f"The workspace {self.root} cannot be used: {reason}. Choose a folder that you may write with "
                "--workspace or DAILIES_WORKSPACE."
            ) from error
        return self

    database = PathProperty(lambda self: self.root / "dailies.db")
    clips = PathProperty(lambda self: self.root / "clips")
    adapters = PathProperty(lambda self: self.root / "adapters")
    runs = PathProperty(lambda self: self.root / "runs")
    trash = PathProperty(lambda self: self.root / "trash")
    curricula = PathProperty(lambda self: self.root / "curricula")
    data_sets = PathProperty(lambda self: self.root / "datasets")
    tmp = PathProperty(lambda self: self.root / "tmp")
    jobs = PathProperty(lambda self: self.root / "jobs")
    worker = PathProperty(lambda self: self.root / "worker")
    backups = PathProperty(lambda self: self.root / "backups")
    backups_lock = PathProperty(lambda self: self.root / "backups.lock")
    """Held while the database is copied."""
    setup_lock = PathProperty(lambda self: self.root / "setup.lock")
    """Held while the database is created or migrated."""
    clips_lock = PathProperty(lambda self: self.root / "clips.lock")
    """Held while a clip's finished folder is moved into its place."""
    submission_lock = PathProperty(lambda self: self.root / "submission.lock")
    """Held from the check of a run or the queue to the submission of a job that the check allows."""
    page_lock = PathProperty(lambda self: self.root / "page.lock")
    """Held by the first page that serves this workspace."""
    uploads = PathProperty(lambda self: self.root / "uploads")
    """Files from browsers; a video stays here until its job has imported it."""
    pairs = PathProperty(lambda self: self.root / "pairs")
    """Imported pairs of preferred and rejected clips, see engine.labelling.pair_exchange."""
    pictures = PathProperty(lambda self: self.root / "pictures")
    prompts = PathProperty(lambda self: self.root / "prompts")
    """Encoded prompts: a cache."""
    cache = PathProperty(lambda self: self.root / "cache")
    """Data that can be recomputed from other files."""
    metric_columns = PathProperty(lambda self: self.cache / "metrics")
    """The runs' metrics in columnar form, see engine.runs.metrics."""
    saved = PathProperty(lambda self: self.root / "saved")
    """Presets that users saved on the page; they override shipped presets."""

    def batch_folder(self, name: str) -> Path:
        """Return the folder of a batch that a cluster processes, see engine.execution.batch_folder."""
        return self.root / "spread" / name

    miopen = PathProperty(lambda self: self.cache / "miopen")
    """Convolution kernels that ROCm's MIOpen selected and compiled on this machine."""
    trackio = PathProperty(lambda self: self.root / "trackio")
    """Trackio's folder (TRACKIO_DIR)."""
    tensorboard = PathProperty(lambda self: self.root / "tensorboard")
    """Runs exported for TensorBoard."""
    worker_lock = PathProperty(lambda self: self.worker / "worker.lock")
    """Held by the one worker process during its lifetime."""
    pause_flag = PathProperty(lambda self: self.worker / "paused")
    """Exists while the queue is paused: no further job is started."""
    worker_state = PathProperty(lambda self: self.worker / "worker.json")
    worker_log = PathProperty(lambda self: self.worker / "worker.log")
    release_flag = PathProperty(lambda self: self.worker / "release")
    """Exists while the worker is requested to unload its model."""

    def clip_folder(self, clip_id: str) -> Path:
        """Return the folder of a clip's files. Raises StoreError when `clip_id` is no clip id, such as a path."""

        if not CLIP_ID.fullmatch(clip_id):
            raise StoreError(f"A clip's id is 16 hex digits, but got {clip_id[:40]!r}.")
        return self.clips / clip_id[:2] / clip_id

    def job_log(self, job_id: str) -> Path:
        if not JOB_ID.fullmatch(job_id):
            raise StoreError(f"A job's id is 8 hex digits, but got {job_id[:40]!r}.")
        return self.jobs / f"{job_id}.log"

    def job_preview(self, job_id: str) -> Path:
        """Return the file of a running job's preview, see engine.generation.previews."""
        return self.job_log(job_id).with_suffix(".jpg")
