"""The tree of errors. Each says what failed, the value got, and what to do; the page and the CLI show it as it is.

DailiesError
|- ConfigError     a preset, a request or a setting is wrong (CLI exit code 2)
|  `- SettingsError   a trainer's setting: a run that has it can never be trained
|- FamilyError     a model cannot be loaded, or cannot do what was asked of it
|- RewardError     a reward cannot be computed (lives in rewards.errors)
|- StoreError      a clip, a vote or a run is missing, damaged or cannot be written
|  |- StoreUnavailable  the database cannot be used now: the same request may succeed later
|  `- StoreDamaged      the database is damaged: it has to be restored from a copy
|- TrainingError   a run cannot start, or cannot go on without spoiling its weights
|- MediaError      an upload is no video that can be read
`- JobError        a job cannot be queued, found, cancelled or finished
   |- Cancelled    somebody asked the job to stop
   `- Lost         where the job ran is gone, or cannot be asked any more
"""

from rewards.errors import DailiesError, RewardError

__all__ = [
    "ConfigError",
    "DailiesError",
    "FamilyError",
    "JobCancelled",
    "JobError",
    "JobLostError",
    "MediaError",
    "RewardError",
    "SettingsError",
    "StoreDamaged",
    "StoreError",
    "StoreUnavailable",
    "TrainingError",
]


class ConfigError(DailiesError):
    """A preset, a request or a setting is wrong."""


class SettingsError(ConfigError):
    """A trainer cannot work with a setting. The settings of a run stay, so it takes another run to change them."""


class FamilyError(DailiesError):
    """A model cannot be loaded, or cannot do what was asked of it."""


class StoreError(DailiesError):
    """A stored thing is missing, damaged or cannot be written."""


class StoreUnavailable(StoreError):
    """The database is locked, busy, full or out of reach: the same request may succeed later."""


class StoreDamaged(StoreError):
    """The database is damaged: it has to be restored from a copy."""


class TrainingError(DailiesError):
    """A run cannot start, or cannot go on without spoiling its weights."""


class MediaError(DailiesError):
    """A file is not a video that can be read."""


class JobError(DailiesError):
    """A job cannot be queued, found, cancelled or finished."""


class JobCancelled(JobError):
    """Somebody, or an alarm of its own, asked the job to stop; not a failure."""


class JobLostError(JobError):
    """Where the job ran is gone, or cannot be asked any more; it can be filed again."""
