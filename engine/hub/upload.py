"""Uploads to the hub by its own client."""

import os
from pathlib import Path

from engine.errors import HubAccessError, HubError
from engine.hub.listing import hub_address, hub_errors
from engine.hub.repository import HubSource, RepositoryKind

TOKEN_VARIABLE = "HF_TOKEN"
README = "README.md"


def push_folder(folder: Path, repository: str, kind: RepositoryKind, *, private: bool) -> str:
    """Upload a folder to a repository `owner/name`, and return the page's address.

    The repository is created when it is missing; with `private`, one that is there must be private, too. One commit
    adds or replaces files; other files of the repository stay, and so does its card. Files that the hub has already are
    not sent again. The access token is that of HF_TOKEN alone, so that nothing is published with a token that was
    stored for downloads. Raises HubAccessError without a token or with one that the hub refuses, HubError.
    """
    from huggingface_hub import HfApi

    if repository.count("/") != 1:
        raise HubError(f"'{repository}' is no hub id such as 'owner/name'.")
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        raise HubAccessError(
            f"An upload needs an access token with the right to write: copy one from {hub_address()}/settings/tokens "
            f"and set {TOKEN_VARIABLE}."
        )
    api = HfApi(token=token)
    with hub_errors(HubSource(repository=repository), kept="files that arrived are not sent again"):
        url = api.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        if private and not api.repo_info(repository, repo_type=kind).private:
            raise HubError(f"'{repository}' is there already and is public: nothing was uploaded. Choose another name.")
        has_card = api.file_exists(repository, README, repo_type=kind)
        try:
            api.upload_folder(
                repo_id=repository,
                repo_type=kind,
                folder_path=folder,
                commit_message="Upload from Dailies",
                ignore_patterns=[README] if has_card else None,
            )
        except RuntimeError as error:  # of a large file; the client's transfer libraries have no other class
            raise HubError(
                f"'{repository}' is not complete ({error.__cause__ or error}): try again, files that arrived are not "
                "sent again."
            ) from error
    return str(url)
