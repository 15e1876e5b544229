"""Questions at the terminal (size and licence, access token, deletion), and permission to delete."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from engine.cli.terminal.transfer_meter import ask, ask_secret, is_interactive
from engine.errors import ConfigError, HubAccessError
from engine.jobs.queue import JobQueue
from engine.jobs.submission import unneeded
from engine.storage.library import Library
from engine.workspace import Workspace

Result = TypeVar("Result")


def add_download_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask; accept size and licence")
    parser.add_argument(
        "--token", metavar="TOKEN", help="access token of the hub (default: $HF_TOKEN, `hf auth login`)"
    )


def confirm_download(
    title: str, size_b: int, remaining_b: int, free_b: int, licence: str, command: str, *, more: str = ""
) -> bool:
    """Show size, free disk and licence, and ask. `more` is another line.

    Raises ConfigError without a terminal, which names the `command` that does not ask.
    """
    here = size_b - remaining_b
    lines = [
        f"{title}: {size_b / 1e9:.1f} GB" + (f", {here / 1e9:.1f} GB of them here" if here else ""),
        f"Free disk: {free_b / 1e9:.1f} GB",
        f"Licence: {licence}",
    ]
    print("\n".join([*lines, *([more] if more else [])]), file=sys.stderr)
    if not is_interactive():
        raise ConfigError(f"There is no terminal for a question: run `{command} --yes` to accept.")
    return ask("Download?")


def confirm_deletion(what: str, command: str) -> None:
    """Ask a person. Raises ConfigError for a "no", and without a terminal."""
    if not is_interactive():
        raise ConfigError(f"There is no terminal for a question: run `{command} --yes`.")
    print(what, file=sys.stderr)
    if not ask("Delete?"):
        raise ConfigError("Nothing was deleted.")


@contextmanager
def unneeded_in(workspace: Workspace, keys: Iterable[str] = (), data_set: str = "") -> Iterator[None]:
    """Enter `engine.jobs.submission.unneeded`; without a workspace there are no jobs or runs."""
    if not workspace.root.is_dir():
        yield
        return
    with closing(Library(workspace)) as library, unneeded(JobQueue(library), keys, data_set):
        yield


def with_token(action: Callable[[str | None], Result], token: str | None) -> tuple[Result, str | None]:
    """Return what an action gives with an access token, and the token; ask for one when the hub needs it."""
    try:
        return action(token), token
    except HubAccessError as error:
        if not is_interactive():
            raise
        print(error, file=sys.stderr)
        secret = ask_secret("Access token (empty: give up): ")
        if not secret:
            raise
        return action(secret), secret
