"""The exception hierarchy. A message states what failed, the value received and what to do.

The page and the CLI show messages unchanged.

DailiesError
|- ConfigError     a preset, a request or a setting is invalid (CLI exit code 2)
|  `- SettingsError   a trainer setting is invalid: a run with this setting can never be trained
|- FamilyError     a model cannot be loaded, or does not support an operation
|- HubError        the hub does not deliver files, or delivers wrong ones
|  `- HubAccessError  a repository needs a token, or the acceptance of its licence
|- RewardError     a reward cannot be computed (defined in rewards.errors)
|- StoreError      a clip, a vote or a run is missing, damaged or cannot be written
|  |- StoreUnavailable  the database cannot be used now: the same request may succeed later
|  `- StoreDamaged      the database is damaged: it must be restored from a backup
|- TrainingError   a run cannot start, or cannot continue without corrupting its weights
|- MediaError      an uploaded file is not a readable video
`- JobError        a job cannot be queued, found, cancelled or finished
   |- JobCancelled  a user or an alarm stopped the job
   `- JobLostError  the machine or the cluster job that ran the job is gone or unreachable
"""

from rewards.errors import DailiesError, RewardError

__all__ = [
    "ConfigError",
    "DailiesError",
    "FamilyError",
    "HubAccessError",
    "HubError",
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
    """A preset, a request or a setting is invalid; `field` names the invalid field of a form, "" for none."""

    def __init__(self, sentence: str, *, field: str = "") -> None:
        super().__init__(sentence)
        self.field = field


class SettingsError(ConfigError):
    """A trainer does not support a setting.

    A run's settings are fixed, so another run is needed to change it.
    """


class FamilyError(DailiesError):
    """A model cannot be loaded, or does not support an operation."""


class HubError(DailiesError):
    """The hub does not deliver files, or wrong ones, or the disk has no room for them."""


class HubAccessError(HubError):
    """A repository is gated or private: it needs a token, or the acceptance of its licence."""


class StoreError(DailiesError):
    """A stored object is missing, damaged or cannot be written."""


class StoreUnavailable(StoreError):
    """The database is locked, busy, full or unreachable: the same request may succeed later."""


class StoreDamaged(StoreError):
    """The database is damaged: it must be restored from a backup."""


class TrainingError(DailiesError):
    """A run cannot start, or cannot continue without corrupting its weights."""


class MediaError(DailiesError):
    """A file is not a readable video."""


class JobError(DailiesError):
    """A job cannot be queued, found, cancelled or finished."""


class JobCancelled(JobError):
    """A user or one of the job's own alarms stopped the job; not a failure."""


class JobLostError(JobError):
    """The process that ran the job is gone or unreachable; the job can be submitted again."""
