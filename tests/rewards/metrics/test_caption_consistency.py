"""Caption consistency: transformers' own arithmetic, captions that are shown, one pass a group, no silent stand-in."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BlipForConditionalGeneration,
    BlipProcessor,
)

from rewards import Clip, Mix, RewardError, RewardReport, RewardResult, RewardUnavailable, load_reward
from rewards.calibration import Calibration, read_calibration
from rewards.external.declaration import Anchors
from rewards.features import ClipFeatures
from rewards.metrics.caption_consistency import captioned_frames
from rewards.networks import cache
from rewards.networks.captions import Captioner, Similarity, caption_choice, open_captioner
from rewards.suite import RewardSuite
from tests.rewards.conftest import render_clip
from tools.mini.train_captioner import make_config, make_processor, make_tokenizer

ANCHORS = Calibration(name="test", anchors={"caption_consistency.mini": Anchors(bad=0.1, good=0.9)})
CLIP = render_clip("right", num_frames=33)


def write_captioner(folder: Path) -> Path:
    """A random BLIP, small enough to be made in a moment."""
    torch.manual_seed(1)
    config = make_config()
    for part in (config.text_config, config.vision_config):
        part.num_hidden_layers, part.initializer_range = 1, 0.4
    BlipForConditionalGeneration(config).save_pretrained(folder)
    make_processor().save_pretrained(folder)
    return folder


def write_similarity(folder: Path, num_labels: int = 1) -> Path:
    """A random cross-encoder."""
    torch.manual_seed(2)
    tokenizer = make_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=num_labels, initializer_range=0.5, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights of one's own in which the embedded networks are tiny random ones."""
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    write_captioner(tmp_path / "mini_captioner")
    write_similarity(tmp_path / "mini_similarity")
    return tmp_path


def features_of(clip: Clip) -> ClipFeatures:
    return ClipFeatures(clip, calibration=ANCHORS, backends={"captions": "mini"})


def caption_by_transformers(folder: Path, frame: np.ndarray) -> str:
    processor = BlipProcessor.from_pretrained(folder)
    inputs = processor(images=frame, return_tensors="pt")
    ids = BlipForConditionalGeneration.from_pretrained(folder).eval().generate(**inputs, max_new_tokens=24, num_beams=1)
    return str(processor.decode(ids[0], skip_special_tokens=True)).strip()


def similarity_by_transformers(folder: Path, one: str, other: str) -> float:
    words = AutoTokenizer.from_pretrained(folder)(one, other, return_tensors="pt")
    with torch.no_grad():
        return torch.sigmoid(AutoModelForSequenceClassification.from_pretrained(folder).eval()(**words).logits).item()


def test_captions_are_those_of_transformers(tiny: Path) -> None:
    captions = Captioner(tiny / "mini_captioner")(list(CLIP.frames[[0, 32]]))
    assert [c.text for c in captions] == [
        caption_by_transformers(tiny / "mini_captioner", CLIP.frames[t]) for t in (0, 32)
    ]
    assert all(0 < caption.confidence < 1 for caption in captions)


def test_confidence_is_the_geometric_mean_of_the_tokens_probabilities(tiny: Path) -> None:
    captioner = Captioner(tiny / "mini_captioner")
    model = BlipForConditionalGeneration.from_pretrained(tiny / "mini_captioner").eval()
    processor = BlipProcessor.from_pretrained(tiny / "mini_captioner")
    pixels = processor(images=CLIP.frames[0], return_tensors="pt").pixel_values
    ids = model.generate(pixel_values=pixels, max_new_tokens=24, num_beams=1)
    with torch.no_grad():
        logs = model(pixel_values=pixels, input_ids=ids).logits[0, :-1].log_softmax(dim=-1)
    expected = logs.gather(1, ids[0, 1:, None]).mean().exp().item()
    assert captioner([CLIP.frames[0]])[0].confidence == pytest.approx(expected, rel=1e-4)


def test_similarity_is_the_mean_of_both_ways_round(tiny: Path) -> None:
    folder, pair = tiny / "mini_similarity", ("a red star at night", "a blue heart in the desert moving left")
    expected = [similarity_by_transformers(folder, *pair), similarity_by_transformers(folder, *pair[::-1])]
    similarity = Similarity(folder)
    assert similarity([pair, pair[::-1]]) == pytest.approx([np.mean(expected)] * 2, abs=1e-6)
    assert abs(expected[0] - expected[1]) > 1e-3
    assert similarity.known_share("a red dragon") == pytest.approx(2 / 3)
    assert np.isfinite(similarity([("a red star " * 1000, "a red star")])).all()


def test_the_value_follows_from_captions_and_similarities(tiny: Path) -> None:
    result = load_reward("caption_consistency").score(features_of(CLIP))
    times = [0, 8, 16, 24, 32]
    texts = [caption.text for caption in Captioner(tiny / "mini_captioner")(list(CLIP.frames[times]))]
    similarity = Similarity(tiny / "mini_similarity")
    told = similarity([(CLIP.prompt, text) for text in texts])
    next_to = similarity(list(pairwise(texts)))
    fidelity, steadiness = (told.mean() + told.max()) / 2, (next_to.mean() + next_to.min()) / 2
    assert result.raw == pytest.approx(fidelity * (1 + steadiness) / 2)
    assert result.value == pytest.approx(np.clip((result.raw - 0.1) / 0.8, 0, 1))
    assert result.notes == tuple(f"Frame {t}: {text}" for t, text in zip(times, texts, strict=True))
    assert np.flatnonzero(np.isfinite(result.per_frame)).tolist() == times
    assert result.details["fidelity"] == pytest.approx(fidelity) and result.backend == "mini"


def test_captions_are_shown_in_a_stored_report(tiny: Path) -> None:
    result = load_reward("caption_consistency").score(features_of(CLIP))
    report = RewardReport(
        clip_id="", mix="x", results={"caption_consistency": result}, weights={}, gates={}, total=None, seconds={},
        calibration="test",
    )  # fmt: skip
    again = RewardReport.from_dict(report.to_dict())
    assert again.results["caption_consistency"].notes == result.notes and len(result.notes) == 5


def test_a_group_is_captioned_together_and_scores_the_same(tiny: Path) -> None:
    clips = [
        CLIP,
        render_clip("left", num_frames=17, colour="blue"),
        Clip(frames=CLIP.frames[:1], fps=8, prompt="a star"),
    ]
    alone = [load_reward("caption_consistency").score(features_of(clip)) for clip in clips]
    before, seen = cache.loads["mini_captioner"], []
    open_captioner("mini")._model.vision_model.register_forward_hook(lambda _m, _a, out: seen.append(len(out[0])))
    group = [features_of(clip) for clip in clips]
    load_reward("caption_consistency").prepare(group)
    together = [load_reward("caption_consistency").score(features) for features in group]
    assert [r.raw for r in together] == pytest.approx([r.raw for r in alone], abs=1e-5)
    assert [r.notes for r in together] == [r.notes for r in alone]
    assert seen == [11] and cache.loads["mini_captioner"] == before
    assert together[2].details["steadiness"] == 1 and group[0].counts["captions.mini"] == 1


def test_no_prompt_and_strange_words_are_not_scored(tiny: Path) -> None:
    reward = load_reward("caption_consistency")
    assert "no prompt" in reward.score(features_of(Clip(frames=CLIP.frames, fps=8))).reason
    strange = Clip(frames=CLIP.frames, fps=8, prompt="elephants juggling porcelain")
    assert "too few" in reward.score(features_of(strange)).reason


@pytest.mark.parametrize(("num_frames", "chosen"), [(1, [0]), (3, [0, 1, 2]), (65, [0, 16, 32, 48, 64])])
def test_captioned_frames(num_frames: int, chosen: list[int]) -> None:
    assert captioned_frames(num_frames).tolist() == chosen


def test_missing_weights_leave_the_reward_out_and_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RewardUnavailable, match="dailies weights get blip"):
        open_captioner("blip")
    mix = Mix(
        key="x", title="x", weights={"caption_consistency": 1.0, "loop_break": 1.0}, backends={"captions": "blip"}
    )
    report = RewardSuite(mix).score(CLIP)
    assert "dailies weights get" in report.results["caption_consistency"].reason
    assert report.weights == {"loop_break": 1.0}
    with pytest.raises(RewardError, match="no caption back end 'blop'"):
        caption_choice("blop")


def test_other_folders_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RewardError, match="empty cannot be read as a BLIP captioner"):
        Captioner(tmp_path / "empty")
    with pytest.raises(RewardError, match="empty cannot be read as a cross-encoder"):
        Similarity(tmp_path / "empty")
    with pytest.raises(RewardError, match="has 3 classes"):
        Similarity(write_similarity(tmp_path / "classes", num_labels=3))


@pytest.mark.parametrize("wrong", ["a blue star", "a green star and a blue star"])
def test_the_embedded_captioner_falls_for_a_wrong_prompt(wrong: str) -> None:
    """Not for a wrong shape: `training.json` says how seldom it tells shapes."""
    clip = render_clip("circle", num_frames=17, background="meadow", x=32.0, y=32.0)
    right = embedded(clip)
    fallen = embedded(Clip(frames=clip.frames, fps=8, prompt=f"{wrong} moving in a circle over a meadow"))
    assert all(": a red " in note and note.endswith(" over a meadow") for note in right.notes)
    assert right.value is not None and fallen.value is not None and fallen.value < right.value - 0.15
    assert right.value > 0.8 and right.backend == "mini"


def embedded(clip: Clip) -> RewardResult:
    """By the networks that are shipped, with the anchors that are shipped."""
    features = ClipFeatures(clip, calibration=read_calibration("mini"), backends={"captions": "mini"})
    result: RewardResult = load_reward("caption_consistency").score(features)
    return result
