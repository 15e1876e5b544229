"""Questions to the hub, and its errors as one sentence each."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.errors import HubAccessError, HubError
from engine.hub.repository import HubSource

TIMEOUT_S = 5.0  # a hub that takes longer for its first answer counts as unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository: its path, size in bytes, and digest.

    `digest` is the SHA-256 (64 hex digits) of a large file, the git blob id (40 hex digits) of a small one.
    """

    path: str
    size_b: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubListing:
    """All files of a repository at one commit; `gated`: the files need a token of a user with access.

    `licence` is the one that the repository's card names, "" for none.
    """

    source: HubSource
    commit: str
    files: tuple[HubFile, ...]
    gated: bool
    licence: str = ""


def list_files(source: HubSource, token: str | None = None) -> HubListing:
    """Return the listing of a repository. Raises HubError, at once when the hub is unreachable."""
    from huggingface_hub import HfApi

    with hub_errors(source):
        api = HfApi()
        ask = api.dataset_info if source.kind == "dataset" else api.model_info
        info = ask(source.repository, revision=source.revision, files_metadata=True, timeout=TIMEOUT_S, token=token)
    files = tuple(
        HubFile(path=file.rfilename, size_b=file.size or 0, digest=file.lfs.sha256 if file.lfs else file.blob_id or "")
        for file in info.siblings or ()
    )
    if not info.sha or not files or not all(file.digest for file in files):
        raise HubError(
            f"The hub lists no files with checksums for '{source.repository}': check HF_ENDPOINT, or try again later."
        )
    licence = str(getattr(info.card_data, "license", None) or "")
    return HubListing(source=source, commit=info.sha, files=files, gated=bool(info.gated), licence=licence)


def hub_address() -> str:
    """Return the address of the hub: that of HF_ENDPOINT, by default the public hub."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def is_offline() -> bool:
    """Return True when HF_HUB_OFFLINE forbids questions to the hub."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


@contextmanager
def hub_errors(source: HubSource, kept: str = "what is downloaded is kept") -> Iterator[None]:
    """Turn the errors of the hub's client, the network and the disk into a HubError of one sentence.

    `kept` says what another attempt need not repeat.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    network: tuple[type[Exception], ...] = (
        OSError,
        ValueError,  # an answer that is no JSON: a proxy's page, or a server that is no hub
        *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)),
    )
    try:
        yield
    except HFValidationError as error:
        raise HubError(f"'{source.repository}' is no hub id such as 'owner/name'.") from error
    except network as error:
        raise _as_hub_error(error, source, kept) from error


def _as_hub_error(error: Exception, source: HubSource, kept: str) -> HubError:
    from huggingface_hub import errors

    name, page = source.repository, f"{hub_address()}/{source.page}"
    if isinstance(error, errors.OfflineModeIsEnabled) or isinstance(error.__cause__, errors.OfflineModeIsEnabled):
        return HubError("HF_HUB_OFFLINE is set, so the hub is not asked: unset it, or name a local folder.")
    if isinstance(error, errors.GatedRepoError):
        return HubAccessError(f"'{name}' is gated: accept its licence at {page}, and give an access token.")
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(
            f"'{name}' has no revision '{source.revision}': correct `revision` in the preset, or the part after @."
        )
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 0
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return HubAccessError(f"'{name}' is not on the hub, or it is private: check the name, or give an access token.")
    if status in (401, 403):
        return HubAccessError(f"The hub refuses access to '{name}' ({status}): check the access token at {page}.")
    if status == 429:
        return HubError(f"The hub limits the rate of requests for '{name}' (429): try again in a few minutes.")
    if status:
        return HubError(f"The hub answers {status} for '{name}': try again later; {kept}.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HubError(f"The disk is full, so '{name}' is not complete: free space and try again; {kept}.")
    why = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
    return HubError(
        f"The hub at {hub_address()} cannot be reached for '{name}' ({why}): check the network or the proxy, and try "
        f"again; {kept}."
    )
