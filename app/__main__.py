"""`python -m app`: serve the workbench; `dailies users`: manage its users.

Exit code 2, with one sentence on stderr, for a failure.
"""

import argparse
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from app.auth.users import Users, add_first_user
from app.context import AppContext
from app.gradio_import import without_stub_files
from app.middleware.origin_check import Reach
from app.queue_monitor import QueueMonitor
from app.text import access
from app.users_command import manage_users
from engine.errors import ConfigError, DailiesError
from engine.files.locks import try_lock
from engine.runs.stale_totals import withdraw_old_totals
from engine.storage.library import copy_at_start
from engine.workspace import Workspace

OPEN_REQUESTS_S = 5
"""Seconds for which a stop waits for open requests, such as the event stream of a browser tab."""
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

log = logging.getLogger("app")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dailies serve", description="Serve the Dailies workbench.")
    build_serve(parser)
    return parser.parse_args(argv)


def build_serve(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dailies serve`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: 7860)")
    parser.add_argument("--workspace", help="folder of clips and jobs (default: $DAILIES_WORKSPACE or ./workspace)")
    parser.add_argument("--auth", type=Path, metavar="FILE", help="users file: only its users can log in")
    parser.add_argument(
        "--first-user",
        metavar="NAME",
        help="if the users file does not exist: create it with this researcher, and log a random password",
    )
    parser.add_argument("--public-url", default="", metavar="URL", help="address for browsers, such as https://box")
    parser.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="reverse proxy whose X-Forwarded-* headers are trusted",
    )
    parser.add_argument(
        "--folder", action="append", default=[], type=Path, help="folder whose videos and pairs the page may read"
    )


def check_reach(host: str, *, has_auth: bool) -> None:
    """Raise ConfigError when the page would be open to the network without users.

    A host name, which is not an IP address, counts as open.
    """
    try:
        is_near = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_near = False
    if not (is_near or has_auth):
        raise ConfigError(access.OPEN_TO_ALL.format(host=host))


def make_first_user(path: Path | None, name: str) -> None:
    """Create the users file with one researcher if it does not exist, and log the password once.

    Raises ConfigError without a users file, or for an invalid user name.
    """
    if path is None:
        raise ConfigError(access.FIRST_USER_NEEDS_FILE)
    password = add_first_user(path, name)
    if password is not None:
        log.warning(access.FIRST_USER.format(path=path, name=name, password=password))


def read_reach(options: argparse.Namespace) -> Reach:
    """Return the addresses of the page. Raises ConfigError for a proxy without a public URL."""
    if options.proxy and not options.public_url:
        raise ConfigError(access.PROXY_WITHOUT_URL)
    return Reach(host=options.host, public_url=options.public_url, proxies=tuple(options.proxy))


def read_folders(options: argparse.Namespace) -> tuple[Path, ...]:
    """Return the folders that the page may read. Raises ConfigError for one that does not exist."""
    for folder in options.folder:
        if not folder.is_dir():
            raise ConfigError(access.NO_FOLDER.format(folder=folder))
    return tuple(folder.resolve() for folder in options.folder)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket, opened before any slow step.

    Raises ConfigError when the address cannot be used.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"A port is a number from 0 to 65535, but got {port}.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        raise ConfigError(
            f"The page cannot listen on {host}:{port}: {error.strerror or error}. Stop what listens there, or choose "
            "another port with --port."
        ) from error


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(options: argparse.Namespace) -> None:
    """Serve until interrupted.

    The page lock is held for the life of this process; a further page shares the workspace.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.umask(0o077)  # only this account can read clips, votes and uploads
    if options.first_user is not None:
        make_first_user(options.auth, options.first_user)
    users = Users(options.auth) if options.auth else None
    check_reach(options.host, has_auth=users is not None)
    reach, folders = read_reach(options), read_folders(options)
    with bind(options.host, options.port) as listening:
        workspace = Workspace.from_env(options.workspace).prepare()
        shared = try_lock(workspace.page_lock) is None
        os.environ["DAILIES_WORKSPACE"] = str(workspace.root)  # its presets are used, too
        os.environ.setdefault("GRADIO_TEMP_DIR", str(workspace.uploads))
        desk = AppContext.open(workspace.root, shared=shared, folders=folders)
        if not shared:
            copy_at_start(workspace)
        withdraw_old_totals(desk.store)
        QueueMonitor(desk.queue).start()
        import uvicorn

        with without_stub_files():
            from app.page import build_server

        application = build_server(desk, users=users, reach=reach)
        # `app.middleware.proxy_headers` sees to the forwarding headers; uvicorn would trust them from this machine by
        # itself.
        server = uvicorn.Server(
            uvicorn.Config(
                application, log_level="warning", proxy_headers=False, timeout_graceful_shutdown=OPEN_REQUESTS_S
            )
        )
        address = reach.public_url or url_of(*listening.getsockname()[:2])
        log.info("Dailies is at %s, workspace %s.", address, workspace.root)
        if shared:
            log.warning("Another page serves this workspace too: both show the same clips and jobs.")
        server.run(sockets=[listening])


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        if words[:1] == ["users"]:
            manage_users(words[1:])
            return 0
        serve(parse(words))
    except DailiesError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
