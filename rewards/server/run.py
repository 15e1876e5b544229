"""Start of a reward server: its address, its token and its end."""

import os
import socket
from collections.abc import Callable, Sequence

import uvicorn

from rewards.errors import RewardError
from rewards.mix import Mix
from rewards.registry import known_rewards, load_reward
from rewards.server.api import build_api, is_loopback
from rewards.server.scoring import ServedRewards


def mix_of(keys: Sequence[str]) -> Mix:
    """Return a mix of single rewards; the key of a declaration with sub-scores stands for all of them.

    Raises RewardError for an unknown one.
    """
    known = known_rewards()
    every = [single for key in keys for single in [name for name in known if name.startswith(f"{key}.")] or [key]]
    for key in every:
        load_reward(key)
    return Mix(key="+".join(keys), title=", ".join(keys), weights=dict.fromkeys(every, 1.0))


def token_from(name: str | None, host: str) -> str:
    """Return the token in the environment variable `name`.

    Raises RewardError when it is not set, or when an address that other machines reach has none.
    """
    if name is None:
        if not is_loopback(host):
            raise RewardError(
                f"Other machines can reach a server at {host}: put a token into an environment variable and name it "
                "with --token-env, or serve at 127.0.0.1."
            )
        return ""
    token = os.environ.get(name, "")
    if not token:
        raise RewardError(f"The environment variable {name} has no token: set it, or leave --token-env out.")
    return token


def serve(
    rewards: ServedRewards,
    *,
    host: str = "127.0.0.1",
    port: int = 8090,
    token_env: str | None = None,
    batch: int = 8,
    started: Callable[[str], None],
) -> None:
    """Serve until the process is interrupted; `started` gets the scoring address. Port 0: a free one.

    Raises RewardError for an address that cannot be used, or a token that is missing.
    """
    token = token_from(token_env, host)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise RewardError(f"The server cannot listen at {host}:{port}: {error}. Name another --port.") from error
    shown = f"[{host}]" if ":" in host else host
    started(f"http://{shown}:{listening.getsockname()[1]}/score")
    config = uvicorn.Config(build_api(rewards, token=token, batch=batch), log_level="warning", proxy_headers=False)
    uvicorn.Server(config).run(sockets=[listening])
