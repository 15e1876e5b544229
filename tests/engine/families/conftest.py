"""The toy models of `toys/`, each built and written to disk once a session."""

import copy
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from engine.config.presets import load_model_preset
from engine.families.registry import family_class
from engine.family_interface import FamilyOptions
from engine.generation.validation import why_untrainable


def load_toys() -> ModuleType:
    """Import the package `toys` next to this file, which is on no import path."""
    folder = Path(__file__).parent / "toys"
    spec = importlib.util.spec_from_file_location(
        "family_toys", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TOYS = load_toys()
MODELS, DOUBLES = TOYS.MODELS, TOYS.DOUBLES
# Presets that differ from another one in their shift, guidance or context only, or (the last) that have the network of
# another one without its pictures: slow.
TWINS = {"animatediff_freenoise", "ltx_097_13b", "wan21_14b", "wan21_vace_14b", "hunyuanvideo15_480p"}
# Toy models with the network and VAE of another one, given other pictures or none: slow where pictures do not matter.
ALIKE = {"animatediff_free_noise", "ltx2_with_pictures", "ltx_condition", "ltx_condition_later"}
ALIKE |= {"wan_flf", "wan_i2v_experts", "wan_ti2v", "wan_vace"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with `tiny` once for each entry, or for those that its marker `toys` picks, unless it names its own.

    With `preset_key` as well, run it once for each trainable model preset and its toy model.
    """
    named = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    own = any("tiny" in ([names] if isinstance(names, str) else names) for names in named)
    if "preset_key" in metafunc.fixturenames:
        trained = [key for key in DOUBLES if why_untrainable(load_model_preset(key)) is None]
        pairs = [pytest.param(key, DOUBLES[key], marks=[pytest.mark.slow] * (key in TWINS)) for key in trained]
        metafunc.parametrize(("preset_key", "tiny"), pairs, indirect=["tiny"], scope="session")
    elif "tiny" in metafunc.fixturenames and not own:
        mark = metafunc.definition.get_closest_marker("toys")
        once = metafunc.definition.get_closest_marker("alike") is not None
        chosen = [
            pytest.param(name, marks=[pytest.mark.slow] * (once and name in ALIKE))
            for name, model in MODELS.items()
            if mark is None or mark.args[0](model)
        ]
        metafunc.parametrize("tiny", chosen, indirect=True, scope="session")


def copy_of_first(tiny: SimpleNamespace) -> Any:
    """A family of a test's own: a copy of one that was read once, in a fifth of the time of reading its files."""
    if not hasattr(tiny, "first"):
        tiny.first = tiny.read()
    return copy.deepcopy(tiny.first)


@pytest.fixture(scope="session")
def built() -> dict[str, SimpleNamespace]:
    """The entries that `tiny` has built: pytest itself forgets one when it makes another."""
    return {}


@pytest.fixture(scope="session")
def tiny(
    request: pytest.FixtureRequest,
    built: dict[str, SimpleNamespace],
    tmp_path_factory: pytest.TempPathFactory,
    fill_weights: Callable[[Any, int], None],
    write_tokenizer: Callable[[Path], None],
) -> SimpleNamespace:
    """One entry: `model`, the `pipeline` of diffusers with the same weights, `folder`, `read()` and `open()`."""
    import torch
    from transformers import PreTrainedTokenizerFast

    if request.param in built:
        return built[request.param]
    model, folder = (MODELS | TOYS.OTHERS)[request.param], tmp_path_factory.mktemp(request.param)
    write_tokenizer(folder / "words")

    def fill(network: Any, seed: int) -> Any:
        fill_weights(network, seed)
        return network.eval()

    kit = TOYS.Kit(fill=fill, tokenizer=PreTrainedTokenizerFast.from_pretrained(folder / "words"))
    pipeline = model.build(kit)
    pipeline.set_progress_bar_config(disable=True)
    parts = model.save(pipeline, folder, kit)
    options = FamilyOptions(parts=parts, scheduler=model.scheduler, context_frames=model.context_frames)

    def open_family() -> Any:
        family = family_class(model.family)(str(folder), options)
        family.load("cpu", torch.float32)
        return family

    made = built[request.param] = SimpleNamespace(
        model=model, pipeline=pipeline, folder=folder, options=options, read=open_family
    )
    made.open = partial(copy_of_first, made)
    made.of_order, made.latents_of = TOYS.of_order, partial(TOYS.latents_of, model)
    made.adapted, made.theirs = partial(TOYS.adapted, made), partial(TOYS.their_latents, made)
    return made


@pytest.fixture
def tiny_open(tiny: SimpleNamespace) -> SimpleNamespace:
    """The entry with `family`, opened once for all tests: leave it as it was."""
    if not hasattr(tiny, "family"):
        tiny.family = tiny.open()
    return tiny


@pytest.fixture(scope="session")
def doubles() -> dict[str, str]:
    """The name of each preset's toy model."""
    return dict(DOUBLES)


@pytest.fixture(scope="session")
def tiny_names() -> dict[str, Any]:
    """Every toy model by its name."""
    return dict(MODELS)
