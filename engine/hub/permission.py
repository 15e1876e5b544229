"""The user's permission for downloads, DAILIES_ALLOW_DOWNLOAD.

"1": jobs download missing models. "0": nothing is downloaded. Not set: a person is asked, and jobs use
only what is installed.
"""

import os

from engine.errors import HubError

ALLOW_DOWNLOAD = "DAILIES_ALLOW_DOWNLOAD"


def is_automatic() -> bool:
    """Return True when missing models are downloaded without a question."""
    return os.environ.get(ALLOW_DOWNLOAD) == "1"


def is_forbidden() -> bool:
    """Return True when nothing may be downloaded."""
    return os.environ.get(ALLOW_DOWNLOAD) == "0"


def check_permitted() -> None:
    """Raise HubError when downloads are forbidden."""
    if is_forbidden():
        raise HubError(f"{ALLOW_DOWNLOAD}=0 forbids downloads: unset it, or name a local folder in the preset.")
