"""CLIP-VID: the values of open_clip, one pass per clip, fixed distractors, and no silent fallback."""

import json
import time
from itertools import zip_longest
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rewards import Clip, Mix, RewardError, RewardUnavailable, load_reward
from rewards.calibration import Calibration, read_calibration
from rewards.external.declaration import Anchors
from rewards.features import ClipFeatures
from rewards.metrics.clip_vid import compare
from rewards.metrics.clip_vid_distractors import _exchanged, _find, _replace, distractors_of, read_distractors
from rewards.networks import cache
from rewards.networks.open_clip_model import OpenClip, clip_choice, open_clip_net, sampled_frames
from rewards.suite import RewardSuite
from tests.rewards.conftest import render_clip
from tests.rewards.tiny_clip import CONFIG, write_tiny_clip

ANCHORS = Calibration(name="test", anchors={"clip_vid.mini": Anchors(bad=-2.0, good=2.0)})
CLIP = render_clip("right", num_frames=33)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights of one's own in which the embedded CLIP is a tiny random one."""
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    return write_tiny_clip(tmp_path / "mini_clip")


def features_of(clip: Clip) -> ClipFeatures:
    return ClipFeatures(clip, calibration=ANCHORS, backends={"clip": "mini"})


def by_open_clip(folder: Path, frames: np.ndarray, texts: list[str]) -> tuple[np.ndarray, np.ndarray, float]:
    """Unit vectors of frames and texts and the logit scale, with nothing but open_clip's own calls."""
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        images = model.eval().encode_image(torch.stack([prepare(Image.fromarray(f)) for f in frames]))
        sentences = model.encode_text(tokenize(texts))
    images, sentences = (v / v.norm(dim=-1, keepdim=True) for v in (images, sentences))
    return images.numpy(), sentences.numpy(), model.logit_scale.exp().item()


def test_vectors_are_open_clips_own(tiny: Path) -> None:
    network, texts = OpenClip(tiny), ["a red star", "a blue heart moving left at night"]
    images, sentences, scale = by_open_clip(tiny, CLIP.frames[:3], texts)
    np.testing.assert_allclose(network.encode_frames(list(CLIP.frames[:3])), images, atol=1e-6)
    np.testing.assert_allclose(network.encode_texts(texts), sentences, atol=1e-6)
    assert network.scale == pytest.approx(scale)


@pytest.mark.parametrize(("shape", "count"), [((36, 63), 2), ((63, 36), 2), ((30, 100), 4), ((40, 40), 1)])
def test_a_network_that_sees_whole_frames_averages_squares_that_cover_them(
    tiny: Path, shape: tuple[int, int], count: int
) -> None:
    whole, middle = OpenClip(tiny, whole=True), OpenClip(tiny)
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    (found,), side = whole.encode_frames([frame]), min(shape)
    starts = np.rint(np.linspace(0, max(shape) - side, count)).astype(int)
    squares = [frame[:, s : s + side] if shape[1] > shape[0] else frame[s : s + side] for s in starts]
    mean = middle.encode_frames(squares).mean(axis=0)
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-6)
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
    np.testing.assert_allclose(whole.encode_pixels(pixels)[0].cpu().numpy(), found, atol=2e-2)
    painted = frame.copy()
    painted[: shape[0] // 8, : shape[1] // 8] = 0
    painted[-(shape[0] // 8) :, -(shape[1] // 8) :] = 255
    assert float(whole.encode_frames([painted])[0] @ found) < 0.9999, "the corners are seen"


def test_frames_of_several_sizes_are_encoded_together(tiny: Path) -> None:
    network, random = OpenClip(tiny, whole=True), np.random.default_rng(0)
    frames = [random.integers(0, 256, (*size, 3), np.uint8) for size in ((36, 63), (40, 40), (30, 100))]
    alone = np.concatenate([network.encode_frames([frame]) for frame in frames])
    np.testing.assert_allclose(network.encode_frames(frames), alone, atol=1e-6)


def test_the_raw_value_is_the_margin_in_logits(tiny: Path) -> None:
    chosen = [0, 4, 8, 12, 16, 20, 24, 28, 32]
    rivals = list(distractors_of(CLIP.prompt, "mini"))
    images, sentences, scale = by_open_clip(tiny, CLIP.frames[chosen], [CLIP.prompt, *rivals])
    cosines = images @ sentences.T
    margins = scale * (cosines[:, 0] - (cosines[:, 1:].mean(axis=1) + cosines[:, 1:].max(axis=1)) / 2)
    result = load_reward("clip_vid").score(features_of(CLIP))
    assert result.raw == pytest.approx(0.5 * margins.mean() + 0.5 * margins.min(), abs=1e-5)
    assert result.value == pytest.approx(np.clip((result.raw + 2) / 4, 0, 1), abs=1e-6)
    assert result.backend == "mini" and result.details["cosine"] == pytest.approx(cosines[:, 0].mean(), abs=1e-6)
    known = np.flatnonzero(np.isfinite(result.per_frame))
    assert known.tolist() == chosen
    assert result.notes == (f"Nearest distractor: {rivals[int(cosines[:, 1:].mean(axis=0).argmax())]}",)


def test_weights_in_one_file_need_the_architectures_name(tmp_path: Path) -> None:
    text = CONFIG["text_cfg"] | {"vocab_size": 49408, "width": 16}
    (tmp_path / "tiny-for-test.json").write_text(json.dumps(CONFIG | {"text_cfg": text}))
    open_clip.add_model_config(tmp_path / "tiny-for-test.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-for-test")
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    network = OpenClip(tmp_path / "weights.safetensors", "tiny-for-test")
    with torch.no_grad():
        tokens = open_clip.get_tokenizer("tiny-for-test")(["a cat"])
        expected = model.eval().encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(network.encode_texts(["a cat"]), expected, atol=1e-6)
    assert network.known_share("qwertyuiop") == 1
    assert network.known_share("一只红色的猫在草地上奔跑") == 0 and network.known_share("Größe: 3 cafés") == 1
    start = "一只红色的猫在阳光下的绿色草地上追逐一只蓝色的蝴蝶远处有高山和白云还有一条小河流过村庄"
    assert len(start) > 40
    cat, dog = network.encode_texts([f"{start}然后猫跳上树", f"{start}然后一只狗跑来"])
    assert not np.allclose(cat, dog, atol=1e-4), "what stands after the network's context length counts too"
    with pytest.raises(RewardError, match=r"weights\.safetensors cannot be read as the weights of an open_clip model"):
        OpenClip(tmp_path / "weights.safetensors", "ViT-M-32-alt")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(RewardError, match=r"torn\.safetensors cannot be read"):
        OpenClip(tmp_path / "torn.safetensors", "tiny-for-test")


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="cannot be read as the weights of an open_clip model"):
        OpenClip(tmp_path)


@pytest.mark.parametrize(("num_frames", "stride"), [(1, 1), (7, 1), (8, 1), (16, 2), (33, 4), (57, 8), (129, 8)])
def test_frames_are_sampled_evenly_and_hold_every_eighth(num_frames: int, stride: int) -> None:
    chosen = sampled_frames(num_frames)
    assert chosen[0] == 0 and set(np.diff(chosen)) <= {stride}
    assert len(chosen) >= min(8, num_frames) and num_frames - chosen[-1] <= stride
    assert set(range(0, num_frames, 8)) <= set(chosen.tolist())


def test_a_group_goes_through_the_network_once_and_scores_the_same(tiny: Path) -> None:
    clips = [CLIP, render_clip("left", num_frames=17, colour="blue"), Clip(frames=CLIP.frames[:3], fps=8)]
    alone = [load_reward("clip_vid").score(features_of(clip)).raw for clip in clips]
    before, seen = cache.loads["mini_clip"], []
    network = open_clip_net("mini")
    network._model.visual.register_forward_hook(lambda _m, arguments, _out: seen.append(len(arguments[0])))
    group = [features_of(clip) for clip in clips]
    load_reward("clip_vid").prepare(group)
    together = [load_reward("clip_vid").score(features).raw for features in group]
    assert together[:2] == pytest.approx(alone[:2], abs=1e-5) and together[2] is alone[2] is None
    assert seen == [9 + 9] and cache.loads["mini_clip"] == before
    assert group[0].counts["clip_frames.mini"] == 1 and group[0].seconds["clip_frames.mini"] > 0


def test_a_text_too_long_for_the_network_is_averaged_over_its_parts(tiny: Path) -> None:
    network = OpenClip(tiny)
    first, second = "a red star and a blue heart moving left", "a green circle over a meadow and a pink cross"
    parts = network.encode_texts([first, second])
    mean = parts.sum(axis=0) / np.linalg.norm(parts.sum(axis=0))
    np.testing.assert_allclose(network.encode_texts([f"{first} {second}"])[0], mean, atol=1e-6)
    fits = "a red star and a blue heart moving left over a meadow at night"  # 13 words and an end fill 14 of 16
    np.testing.assert_allclose(
        network.encode_texts([fits])[0], by_open_clip(tiny, CLIP.frames[:1], [fits])[1][0], atol=1e-6
    )
    assert np.isfinite(network.encode_texts(["a red star " * 1000])).all()


def test_no_prompt_and_strange_words_are_not_scored(tiny: Path) -> None:
    result = load_reward("clip_vid").score(features_of(Clip(frames=CLIP.frames, fps=8, prompt="  ")))
    assert result.value is None and "no prompt" in result.reason
    strange = Clip(frames=CLIP.frames, fps=8, prompt="Elephants juggling porcelain beneath a red waterfall")
    result = load_reward("clip_vid").score(features_of(strange))
    assert result.value is None and "too few" in result.reason
    assert result.details["known_words"] == pytest.approx(2 / 7)


def test_missing_weights_leave_the_reward_out_and_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RewardUnavailable, match="dailies weights get clip_l14"):
        open_clip_net("ViT-L-14")
    mix = Mix(key="x", title="x", weights={"clip_vid": 3.0, "loop_break": 1.0}, backends={"clip": "ViT-L-14"})
    report = RewardSuite(mix).score(CLIP)
    assert report.parts["clip_vid"] is None and "dailies weights get" in report.results["clip_vid"].reason
    assert report.notes[0].startswith("clip_vid could not be computed") and "get clip_l14" in report.notes[0]
    assert report.weights == {"loop_break": 1.0}
    with pytest.raises(RewardError, match="no CLIP back end 'clop'"):
        clip_choice("clop")


def test_anchors_from_the_literature_are_trusted_less(tiny: Path) -> None:
    unmeasured = Calibration(name="bare", anchors={})
    assert not unmeasured.is_measured("clip_vid.ViT-B-32") and unmeasured.map("clip_vid.ViT-B-32", 8.0) == 1
    with pytest.raises(RewardError, match="no anchors for 'clip_vid.mini'"):
        unmeasured.map("clip_vid.mini", 0.0)


def test_margin_by_hand() -> None:
    sentences = np.eye(3, dtype=np.float32)
    frame = np.array([[0.7, 0.3, 0.1]], np.float32)
    assert compare(frame, sentences).margins == pytest.approx([0.7 - (0.2 + 0.3) / 2], abs=1e-6)


def test_distractors_change_one_word_and_never_the_meaning() -> None:
    rivals = distractors_of("an orange circle and a pink star moving in a circle at night", "mini")
    assert "a pink circle and an orange star moving in a circle at night" in rivals
    assert "a red circle and a pink star moving in a circle at night" in rivals
    assert "an orange circle and a pink star moving in a circle in the desert" in rivals
    assert all("moving in a circle" in rival for rival in rivals[:20])
    assert not any("ball" in rival for rival in rivals)
    same = distractors_of("a red ball and a blue circle over a meadow", "mini")
    assert "a blue ball and a red circle over a meadow" not in same
    assert distractors_of("A RED STAR at night", "mini") == distractors_of("A RED STAR at night", "mini")


def test_distractors_of_films_name_the_prompts_own_words() -> None:
    prompt = "two dogs and a cat run {fast} on the beach"
    rivals = distractors_of(prompt, "real")
    assert "one dogs and a cat run {fast} on the beach" in rivals
    assert f'the words "{prompt}" written on a plain background' in rivals
    assert set(read_distractors("real").prompts) <= set(rivals) and prompt not in rivals
    with pytest.raises(RewardError, match="'moon' cannot be read"):
        read_distractors("moon")


def every_swap(prompt: str, name: str) -> list[str]:
    """Return all versions of the prompt with one word changed, by group of words and by position."""
    known, groups = read_distractors(name), []
    for group in known.swaps:
        places = _find(prompt, group, known.keep)
        others = [[_replace(prompt, at, kind[0]) for kind in group if at[0].lower() not in kind] for at in places]
        groups.append([text for row in zip_longest(*others) for text in row if text is not None])
    return [text for row in zip_longest(*groups) for text in row if text is not None]


@pytest.mark.parametrize("name", ["real", "mini"])
@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "waves",
        "a red star moving in a circle at night",
        "an orange ball and two small dogs in the desert",
        "a red car and a blue bus, a man and a woman running on the beach in summer by day",
    ],
)
def test_the_first_distractors_of_all_are_taken(prompt: str, name: str) -> None:
    known = read_distractors(name)
    places = [_find(prompt, group, known.keep) for group in known.swaps]
    swapped = [*_exchanged(prompt, known.swaps, places), *every_swap(prompt, name)][:24]
    forms = [form.format(prompt=prompt) for form in known.forms]
    assert distractors_of(prompt, name) == tuple(dict.fromkeys([*swapped, *forms, *known.prompts]))


def test_a_very_long_prompt_takes_no_time() -> None:
    prompt, start = "a red star " * 1000, time.process_time()
    assert len(distractors_of(prompt, "real")) > 24 and len(distractors_of(prompt, "mini")) > 24
    assert time.process_time() - start < 0.5


SHOWN = (
    ("red", "star", "meadow"),
    ("blue", "circle", "white"),
    ("yellow", "heart", "night"),
    ("green", "square", "desert"),
    ("pink", "triangle", "sunset"),
    ("cyan", "cross", "grey"),
)


@pytest.mark.parametrize("swap", ["colour", "shape", "background"])
def test_the_embedded_clip_falls_for_a_swapped_word(swap: str) -> None:
    change = {"colour": (1, 0, 0), "shape": (0, 1, 0), "background": (0, 0, 1)}[swap]
    lost = []
    for place, (colour, shape, background) in enumerate(SHOWN):
        other = SHOWN[(place + 1) % len(SHOWN)]
        named = [theirs if changed else mine for mine, theirs, changed in zip(SHOWN[place], other, change, strict=True)]
        clip = render_clip("circle", num_frames=17, colour=colour, shape=shape, background=background, x=32.0, y=32.0)
        wrong = render_clip("circle", num_frames=1, colour=named[0], shape=named[1], background=named[2]).prompt
        right, fallen = (embedded(Clip(frames=clip.frames, fps=8, prompt=text)) for text in (clip.prompt, wrong))
        lost.append(right - fallen)
    assert min(lost) > 0.03 and np.mean(lost) > 0.2, lost


def embedded(clip: Clip) -> float:
    """The value by the network that is shipped, with the anchors that are shipped."""
    features = ClipFeatures(clip, calibration=read_calibration("mini"), backends={"clip": "mini"})
    value = load_reward("clip_vid").score(features).value
    assert value is not None
    return value
