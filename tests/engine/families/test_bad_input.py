"""What a model cannot be opened from, and what it cannot be asked for: each said in one sentence, for every family."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.errors import ConfigError, DailiesError, FamilyError
from engine.families.loading import move
from engine.families.registry import family_class, family_spec
from engine.generation.context import ClipReady, GenerationContext
from engine.generation.pipeline import generate
from engine.request import GivenKeyframe, KeyframePlan


def load(key: str, folder: Path, options: Any = None) -> None:
    family_class(key)(str(folder), options).load("cpu", torch.float32)


def test_a_folder_of_another_family_is_refused(tiny: SimpleNamespace, tiny_folder: Path) -> None:
    """The toy LTX, of the first version, opened as each of the others; and each of the others as LTX."""
    itself = tiny.model.family == "ltx"
    another = r"belongs to another family|has no (unet|text_encoder_2|connectors)|has another version"
    with pytest.raises(FamilyError, match=another) as said:
        load("wan" if itself else tiny.model.family, tiny_folder, tiny.options)
    assert "\n" not in str(said.value)
    with pytest.raises(FamilyError, match=r"belongs to another family|has no transformer|has another version"):
        load("ltx_condition" if itself else "ltx", tiny.folder)


@pytest.mark.parametrize(
    ("tiny", "key", "sentence"),
    [
        ("wan_flf", "wan", "its network takes 36 channels, that of Wan 16. Correct `family`"),
        ("wan", "wan_flf", "its network takes 16 channels, that of Wan first-last-frame 36"),
        ("wan_vace", "wan", r"\(WanVACEPipeline\): its transformer is WanVACETransformer3DModel"),
        ("wan", "wan_vace", "this family needs WanVACETransformer3DModel"),
        ("wan", "wan_ti2v", "has no noise level for each token: correct `family`"),
        ("wan", "wan_i2v", "its network takes 16 channels, that of Wan image-to-video 36"),
        ("wan_flf", "wan_i2v", "also takes a last picture: set family = 'wan_flf'"),
        ("wan_i2v", "wan_flf", "takes a first picture only"),
    ],
    indirect=["tiny"],
)
def test_a_kind_of_wan_is_not_another_kind(tiny: SimpleNamespace, key: str, sentence: str, tmp_path: Path) -> None:
    """Known from the configurations: no weights are read for it."""
    bare = Path(shutil.copytree(tiny.folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors")))
    with pytest.raises(FamilyError, match=sentence):
        load(key, bare)


@pytest.mark.parametrize("tiny", ["wan_flf"], indirect=True)
@pytest.mark.parametrize("change", [{"expand_timesteps": True}, {"pos_embed_seq_len": None}])
def test_a_model_that_takes_a_first_picture_only_is_refused(
    tiny: SimpleNamespace, change: dict[str, Any], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "model"))
    (name,) = change
    file = folder / ("model_index.json" if name == "expand_timesteps" else "transformer/config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(FamilyError, match="takes a first picture only, but Wan first-last-frame also a last one"):
        load("wan_flf", folder)


@pytest.mark.parametrize("tiny", ["wan_flf"], indirect=True)
def test_a_picture_processor_that_is_not_there_is_refused(tiny: SimpleNamespace, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "model"))
    shutil.rmtree(folder / "image_processor")
    with pytest.raises(FamilyError, match=r"The image processor in '.*image_processor' cannot be read"):
        load("wan_flf", folder)


@pytest.mark.parametrize("mode", ["direct", "keyframes", "windows"])
def test_one_frame_is_made_or_refused(tiny_open: SimpleNamespace, mode: str) -> None:
    request = tiny_open.model.request.model_copy(update={"num_frames": 1, "mode": mode, "num_steps": 1})
    try:
        (clip,) = [event.clip for event in generate(tiny_open.family, [request]) if isinstance(event, ClipReady)]
    except DailiesError as error:
        needs_pictures = "between given pictures" in str(error) or "needs a first picture" in str(error)
        needs_pictures |= "only from a first picture" in str(error)
        assert needs_pictures or (mode != "windows" and "1 frame" in str(error))
    else:
        assert clip.num_frames == 1 and clip.seams == ()


@pytest.mark.toys(lambda model: family_spec(model.family).frame_stride > 1)  # the others make any number of frames
def test_frames_that_the_family_cannot_make_are_refused(tiny_open: SimpleNamespace) -> None:
    spec = tiny_open.family.spec
    request = tiny_open.model.request.model_copy(update={"num_frames": 4 * spec.frame_stride})
    nearest = spec.nearest_frames(request.num_frames)
    with pytest.raises(FamilyError, match=f"does not support {request.num_frames} frames: use {nearest}"):
        next(generate(tiny_open.family, [request]))


@pytest.mark.parametrize("tiny", ["wan_flf", "wan_vace", "animatediff_sparsectrl", "ltx2"], indirect=True)
@pytest.mark.parametrize(
    ("frame", "side", "sentence"),
    [(99, 0, "given at frame 99, but the clip's last frame is"), (0, 16, "px, but the clip is .*: crop or resize it")],
)
def test_keyframes_that_do_not_fit_are_refused(
    tiny_open: SimpleNamespace, frame: int, side: int, sentence: str
) -> None:
    import numpy as np

    request, frames = tiny_open.model.request, {0, frame, tiny_open.model.request.num_frames - 1}
    given = tuple(GivenKeyframe(frame=one, picture="a" * 64) for one in sorted(frames))
    plan = KeyframePlan(source="given", given=given)
    picture = np.zeros((request.height + side, request.width, 3), np.uint8)
    with pytest.raises(ConfigError, match=sentence):
        asked = request.model_copy(update={"mode": "keyframes", "keyframes": plan})
        list(generate(tiny_open.family, [asked], GenerationContext(pictures=lambda name: picture)))


@pytest.mark.parametrize("tiny", ["wan_flf"], indirect=True)
def test_a_network_that_needs_pictures_says_so_to_whoever_gives_none(tiny_open: SimpleNamespace) -> None:
    """Training, for one, which knows no keyframes."""
    family, model = tiny_open.family, tiny_open.model
    latents = family.init_latents(model.request, [torch.Generator().manual_seed(1)])
    with pytest.raises(FamilyError, match="generates only from given pictures: give them"):
        family.predict(latents, torch.tensor([0.5]), family.encode(["a"]))
    with pytest.raises(FamilyError, match=r"takes pictures at the frames \[0, 8\], not at \[0, 4\]"):
        family.encode_pictures(model.pictures(1), (0, 4), 9)


class TooLarge(torch.nn.Linear):
    """A network for which no device has room."""

    def to(self, *where: Any, **how: Any) -> Any:
        raise torch.OutOfMemoryError("no room")


def test_a_network_that_does_not_fit_says_how_large_it_is() -> None:
    with pytest.raises(FamilyError, match=r"'a/transformer' needs 0\.1 GiB on cuda, more than is free there: free the"):
        move(TooLarge(4096, 4096), "cuda", "a/transformer")
