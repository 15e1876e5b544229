"""Clips to keep: one of noise, and libraries whose files are only names."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.request import GenerationRequest
from engine.storage.clip_files import FILES
from engine.storage.library import ClipRecord, Store
from rewards.clip import Clip


@pytest.fixture
def clip() -> Clip:
    """Nine frames of noise, 32x48 px."""
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), dtype=np.uint8)
    return Clip(frames=frames, fps=8.0, prompt="noise")


@pytest.fixture
def put_files(store: Store) -> Callable[[str], None]:
    """`put_files(clip_id)`: files of a clip, for tests that never read them."""

    def put(clip_id: str) -> None:
        folder = store.workspace.clip_folder(clip_id)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_text("a clip")

    return put


@pytest.fixture
def put_clip(store: Store, put_files: Callable[[str], None]) -> Callable[[GenerationRequest], None]:
    """`put_clip(request)`: as if the request's clip had been generated."""

    def put(request: GenerationRequest) -> None:
        store.add_clip(ClipRecord.generated(request))
        put_files(request.id)

    return put


@pytest.fixture
def library(store: Store, put_files: Callable[[str], None]) -> Callable[[int, int], tuple[str, ...]]:
    """`library(prompts, models)`: a clip of each prompt by each of m0, m1, ...; the ids, prompt by prompt."""

    def make(prompts: int, models: int) -> tuple[str, ...]:
        ids = []
        for prompt in range(prompts):
            for model in range(models):
                ids.append(f"{prompt * 100 + model:016x}")
                record = ClipRecord(
                    id=ids[-1],
                    prompt=f"prompt {prompt}",
                    source="generated",
                    num_frames=9,
                    width=64,
                    height=64,
                    fps=8.0,
                    model=f"m{model}",
                )
                store.add_clip(record)
                put_files(ids[-1])
        return tuple(ids)

    return make
