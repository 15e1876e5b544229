"""`dailies users add|remove|list|link`: the users file from a shell."""

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from app.auth.users import ROLES, Users, add_user, remove_user
from app.text import access
from engine.errors import ConfigError


def manage_users(argv: Sequence[str]) -> None:
    """Run a command of `dailies users`. Raises ConfigError in one sentence."""
    options = parse(argv)
    if options.verb == "add":
        add_user(options.file, options.name, options.role, read_password(options.name))
        print(f"{options.name} is a {options.role} of {options.file}.")
    elif options.verb == "remove":
        remove_user(options.file, options.name)
        print(f"{options.name} was removed.")
    elif options.verb == "link":
        print(f"{options.url.rstrip('/')}/login?link={Users(options.file).token(options.name, 'link')}")
    else:
        for name, account in Users(options.file).read().users.items():
            print(f"{account.role:12}{name}")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dailies users", description="Manage the users of the page.")
    build_users(parser)
    return parser.parse_args(argv)


def build_users(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dailies users`."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--file", type=Path, default=Path("users.json"), help="users file (default: users.json)")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    verbs.add_parser("ls", aliases=["list"], parents=[shared], help="list names and roles")
    add = verbs.add_parser("add", parents=[shared], help="add a user, or change the role and password of one")
    add.add_argument("--role", choices=ROLES, default="labeller", help="role; a labeller sees only the Label page")
    link = verbs.add_parser("link", parents=[shared], help="print an address that logs a user in, valid for 30 days")
    link.add_argument("--url", default="http://127.0.0.1:7860", help="address of the page")
    remove = verbs.add_parser("remove", parents=[shared], help="remove a user, whose sessions end at once")
    for verb in (add, link, remove):
        verb.add_argument("name")


def read_password(name: str) -> str:
    """Return the password: typed twice on a terminal, else the first line of the standard input.

    Raises ConfigError when the two differ.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass(access.PASSWORD.format(name=name))
    if first != getpass.getpass(access.AGAIN):
        raise ConfigError(access.DIFFERENT)
    return first
