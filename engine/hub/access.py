"""The access token of the hub, in the file where the hub's client looks for it. Imports no torch.

Downloads of gated models use it: `HF_TOKEN` if it is set, else the stored one.
"""

import os
from pathlib import Path
from typing import Literal

from engine.errors import HubAccessError, HubError
from engine.files.atomic import write_text_atomic
from engine.hub.listing import hub_address, hub_errors
from engine.hub.permission import check_permitted
from engine.hub.repository import HubSource

TokenSource = Literal["environment", "stored", "none"]
ENVIRONMENT = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
QUESTION = HubSource(repository="api/whoami-v2")  # the address that checks a token
TOKEN_LIMIT = 500  # characters


def token_source() -> TokenSource:
    """Return where the token that downloads use comes from. Uses no network."""
    if any(os.environ.get(name) for name in ENVIRONMENT):
        return "environment"
    from huggingface_hub import get_token

    return "stored" if get_token() else "none"


def store_token(token: str) -> str:
    """Let the hub check a token, store it for the hub's client, and return the name of its user.

    Raises HubAccessError for a token that the hub does not accept, HubError: no network, downloads are forbidden, or
    the token cannot be written.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    token = token.strip()
    check_permitted()
    if not token or len(token) > TOKEN_LIMIT or not token.isascii() or not token.isprintable() or " " in token:
        raise HubAccessError(f"That is no access token: copy one from {hub_address()}/settings/tokens.")
    with hub_errors(QUESTION):
        try:
            user = str(HfApi().whoami(token)["name"])
        except HfHubHTTPError as error:
            if error.response.status_code not in (401, 403):
                raise
            raise HubAccessError(
                f"The hub does not accept this access token: copy it again from {hub_address()}/settings/tokens."
            ) from error
        write_text_atomic(Path(constants.HF_TOKEN_PATH), token, private=True)
    return user


def forget_token() -> None:
    """Delete the stored token. Raises HubError for one that the environment sets."""
    if token_source() == "environment":
        raise HubError(f"The access token comes from {ENVIRONMENT[0]}: unset it where Dailies is started.")
    from huggingface_hub import constants

    Path(constants.HF_TOKEN_PATH).unlink(missing_ok=True)
