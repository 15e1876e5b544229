"""The only module of the goldens that imports Dailies, so that moved or renamed code is followed in one place.

`python tests/goldens/access.py ARGUMENTS` is `dailies ARGUMENTS`, and `access.py page ARGUMENTS` serves the page.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# The lists of names that follow are the whole interface between the goldens and the product.
from app.__main__ import main as page_main  # noqa: E402
from app.context import AppContext  # noqa: E402
from app.page import build_server  # noqa: E402
from engine.cli.main import build_parser, main  # noqa: E402
from engine.config.algorithms import ALGORITHMS  # noqa: E402
from engine.config.curriculum_preset import CurriculumPreset  # noqa: E402
from engine.config.form_settings import settings_of  # noqa: E402
from engine.config.presets import load_model_preset, load_train_preset  # noqa: E402
from engine.config.schema import ModelPreset, TrainPreset  # noqa: E402
from engine.request import GenerationRequest  # noqa: E402
from engine.runs.run import Run  # noqa: E402
from engine.seeds import generator_for, seed_for  # noqa: E402
from engine.video.writer import write_lossless  # noqa: E402
from engine.workspace import Workspace  # noqa: E402

# The toy models of the families and the weights and tokenizer that fill them belong to the tests.
TOYS = "engine/families/toys/__init__.py"
TOY_PARTS = "engine/conftest.py"

__all__ = [
    "ALGORITHMS",
    "ROOT",
    "TOYS",
    "TOY_PARTS",
    "AppContext",
    "CurriculumPreset",
    "GenerationRequest",
    "ModelPreset",
    "Run",
    "TrainPreset",
    "Workspace",
    "build_parser",
    "build_server",
    "generator_for",
    "load_test_module",
    "load_train_preset",
    "main",
    "open_mini",
    "page_main",
    "seed_for",
    "settings_of",
    "train_in_process",
    "write_lossless",
]


def load_test_module(name: str, path: str) -> ModuleType:
    """A module or package of the tests, which are on no import path, by its path from `tests`."""
    file = ROOT / "tests" / path
    folders = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def open_mini() -> Any:
    """The embedded model, loaded on the CPU."""
    from engine.families.registry import open_model

    return open_model(load_model_preset("mini"))


def train_in_process(run: Run) -> int:
    """Train a run to its end in this process; the exit code."""
    from engine.training.main import run_training

    return int(run_training(run))


def make_clips(family: Any, requests: list[GenerationRequest]) -> list[Any]:
    """The clips (`frames`: `uint8[T,H,W,3]`) of requests in their order, each through its generation mode."""
    from engine.generation.context import ClipReady
    from engine.generation.pipeline import generate

    made = [event for event in generate(family, requests) if isinstance(event, ClipReady)]
    return [next(one.clip for one in made if one.request == request) for request in requests]


def denoise_toy(family: Any, toy: Any, prompt: str, seed: int) -> tuple[Any, Any]:
    """Final latents of one request of a toy model, guidance 3, and its decoded frames `uint8[T,H,W,3]`."""
    from dataclasses import replace

    from engine.sampling.sampler import denoise
    from engine.sampling.schedules import num_tokens, sigmas_for

    request = toy.request
    latents = family.init_latents(request, [generator_for(seed)])
    places = toy.places
    given = family.encode_pictures(toy.pictures(1), places, request.num_frames) if places else {}
    sigmas = sigmas_for(family.scheduler_config, request.num_steps, num_tokens(latents, given))
    texts = []
    for text in (prompt, ""):
        words = family.encode([text])
        texts.append(replace(words, fps=request.fps, extras={**(words.extras or {}), **given}))
    steps = denoise(family, latents, sigmas, texts[0], negative=texts[1], guidance=3.0)
    final = list(steps)[-1].next_latents
    return final, family.decode(final)[0]


def open_toy(family: str, folder: str, **options: Any) -> Any:
    """The family's model of a folder on disk, loaded on the CPU in float32."""
    import torch

    from engine.families.registry import family_class
    from engine.family_interface import FamilyOptions

    opened = family_class(family)(folder, FamilyOptions(**options))
    opened.load("cpu", torch.float32)
    return opened


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(page_main(words[1:]) if words[:1] == ["page"] else main(words))
