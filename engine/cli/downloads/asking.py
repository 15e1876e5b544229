"""Questions at the terminal: size and licence, access token, deletion."""

import sys
from collections.abc import Callable
from typing import TypeVar

from engine.cli.terminal.transfer_meter import ask, ask_secret, is_interactive
from engine.errors import ConfigError, HubAccessError

Result = TypeVar("Result")


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
