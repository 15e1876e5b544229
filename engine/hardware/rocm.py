"""Detection of the PyTorch build (ROCm sets `torch.version.hip`), and in-process kernel settings."""

import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TF32 = "DAILIES_TF32"


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchBuild:
    """Contents of PyTorch's `version.py`. `hip` and `cuda` are the versions it was built for, "" for none."""

    version: str
    hip: str
    cuda: str


@cache
def torch_build() -> TorchBuild:
    """Return the installed build, read without importing PyTorch, so that the page can use it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return TorchBuild(version="", hip="", cuda="")
    return read_build(Path(spec.origin).with_name("version.py"))


def read_build(file: Path) -> TorchBuild:
    """Read a `version.py`; all fields are empty if it does not exist."""
    spec = importlib.util.spec_from_file_location("torch_build_version", file)
    if not file.is_file() or spec is None or spec.loader is None:
        return TorchBuild(version="", hip="", cuda="")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    versions = {name: str(getattr(module, name, None) or "") for name in ("hip", "cuda")}
    return TorchBuild(version=str(getattr(module, "__version__", "")), **versions)


def is_rocm() -> bool:
    return bool(torch_build().hip)


def choose_kernels() -> None:
    """Set PyTorch's kernel options; called when a process loads a model.

    TF32 is opt-in (DAILIES_TF32=1). On ROCm, `cudnn.benchmark` is turned off: it makes MIOpen search exhaustively for
    each new convolution shape, which delays the first clip by many minutes (unslothai/unsloth#11636).
    """
    import torch

    if os.environ.get(TF32, "").strip() == "1":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    if torch.version.hip:
        torch.backends.cudnn.benchmark = False
