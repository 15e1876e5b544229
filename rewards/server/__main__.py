"""`python -m rewards.server`: serve rewards with nothing but the package `rewards`."""

import argparse
import sys
from pathlib import Path

from rewards.errors import DailiesError
from rewards.external.folders import use_folders
from rewards.mix import Mix, read_mix
from rewards.server.run import mix_of, serve
from rewards.server.scoring import ServedRewards


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a reward server."""
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8090, help="port, 0 for a free one (default: 8090)")
    parser.add_argument(
        "--token-env", metavar="NAME", help="environment variable with the token that clients must send"
    )
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="largest batch of waiting clips (default: 8)")


def serve_with(mix: Mix, options: argparse.Namespace) -> None:
    """Serve a mix with the options of `add_server_options`, until interrupted.

    Raises RewardError as `serve`.
    """
    serve(
        ServedRewards(mix, total=bool(options.mix)),
        host=options.host,
        port=options.port,
        token_env=options.token_env,
        batch=options.batch,
        started=lambda url: print(f"Ctrl+C ends this. Serving {mix.key} at {url}", flush=True),
    )


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rewards.server", description="Serve rewards over HTTP.")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="rewards to serve, built-in or declared")
    parser.add_argument("--mix", type=Path, metavar="FILE", help="serve a mix, its total and its rewards")
    parser.add_argument("--declarations", type=Path, metavar="FOLDER", help="folder of declared external rewards")
    add_server_options(parser)
    return parser


def main() -> int:
    """Serve until interrupted; exit code 2 for wrong usage, with one sentence on stderr."""
    parser = build_parser()
    options = parser.parse_args()
    if bool(options.keys) == bool(options.mix):
        parser.error("name rewards or a --mix, one of the two")
    if options.declarations is not None:
        use_folders(lambda: [options.declarations])
    try:
        serve_with(read_mix(options.mix) if options.mix else mix_of(options.keys), options)
    except DailiesError as error:
        print(f"rewards.server: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
