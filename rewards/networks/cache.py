"""Networks, each loaded once a process, and readers of weight files with errors of one sentence.

model = open_network("i3d", lambda: load_into(I3D(), read_tensors(resolve("i3d")), "i3d"))
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rewards.errors import RewardError

if TYPE_CHECKING:
    from torch import Tensor, nn

DEVICE_VARIABLE = "DAILIES_REWARD_DEVICE"

Network = TypeVar("Network")
loads: Counter[str] = Counter()
"""How often each network was built in this process; a test holds it to 1."""
_networks: dict[tuple[str, str], Any] = {}
_lock = threading.RLock()


def open_network(name: str, build: Callable[[], Network]) -> Network:
    """Return the result of `build`, cached by `name` and the folder of weights; failures are not cached."""
    place = (name, os.environ.get("DAILIES_WEIGHTS", ""))
    with _lock:
        if place not in _networks:
            _networks[place] = build()
            loads[name] += 1
        network: Network = _networks[place]
        return network


def close_networks() -> int:
    """Drop all networks, so that their memory can be reused; return their number."""
    with _lock:
        closed = len(_networks)
        _networks.clear()
        return closed


def device() -> str:
    """Return the device of the rewards' networks: DAILIES_REWARD_DEVICE, or else a GPU when there is one."""
    import torch

    return os.environ.get(DEVICE_VARIABLE) or ("cuda" if torch.cuda.is_available() else "cpu")


def read_tensors(path: Path) -> dict[str, "Tensor"]:
    """Read a state dict from `.safetensors`, or from torch's own format without running code in it.

    Raises RewardError when the file is truncated, of another kind, or contains anything but tensors.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise RewardError(f"The weights file {path.name} cannot be read: {error.strerror or error}.") from error
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not (isinstance(found, Mapping) and found and all(hasattr(value, "shape") for value in found.values())):
        raise RewardError(f"The weights file {path.name} does not hold the tensors of a network.")
    return dict(found)


def load_into(model: "nn.Module", tensors: Mapping[str, "Tensor"], what: str) -> "nn.Module":
    """Load `tensors` into `model`, in float32 and evaluation mode, on `device()`.

    Raises RewardError when they do not fit the model.
    """
    try:
        model.load_state_dict({key: value.float() for key, value in tensors.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise RewardError(f"These are not the weights of {what}: {reason}.") from error
    return model.float().eval().requires_grad_(False).to(device())


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path) from error


def _read_torch(path: Path) -> Any:
    import pickle

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> RewardError:
    return RewardError(f"The weights file {path.name} is damaged or no weights file: delete it and get it again.")
