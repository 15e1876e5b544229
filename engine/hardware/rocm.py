"""Which build of PyTorch this is, and what is chosen for it inside a process. ROCm is told by `torch.version.hip`."""

import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TF32 = "DAILIES_TF32"


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchBuild:
    """PyTorch's own `version.py`; `hip` or `cuda` is the version of what it was built for, "" where it was not."""

    version: str
    hip: str
    cuda: str


@cache
def torch_build() -> TorchBuild:
    """Read from PyTorch's `version.py` without importing PyTorch, so that the page may ask too."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return TorchBuild(version="", hip="", cuda="")
    return read_build(Path(found.origin).with_name("version.py"))


def read_build(file: Path) -> TorchBuild:
    """What a `version.py` says; nothing, where it is not there."""
    spec = importlib.util.spec_from_file_location("torch_build_version", file)
    if not file.is_file() or spec is None or spec.loader is None:
        return TorchBuild(version="", hip="", cuda="")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    told = {name: str(getattr(module, name, None) or "") for name in ("hip", "cuda")}
    return TorchBuild(version=str(getattr(module, "__version__", "")), **told)


def is_rocm() -> bool:
    return bool(torch_build().hip)


def choose_kernels() -> None:
    """Called where a process loads a model. TF32 is a choice (DAILIES_TF32=1); bfloat16 does the work.

    On ROCm `cudnn.benchmark` means MIOpen's exhaustive search for each new shape of a convolution: many minutes of
    silence before a first clip (unslothai/unsloth#11636). It stays off.
    """
    import torch

    if os.environ.get(TF32, "").strip() == "1":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    if torch.version.hip:
        torch.backends.cudnn.benchmark = False
