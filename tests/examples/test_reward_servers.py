"""The reward servers of `examples`, with tiny random models and stubs of the published interfaces."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizerFast,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from examples.reward_servers import score_pickscore, score_videoalign, score_videoscore2
from rewards import Clip, Mix, RewardError
from rewards.external import folders
from rewards.external.declaration import read_declaration
from rewards.external.frame_scores import best_frames_mean, even_frames, grey_frames
from rewards.external.probe import run_probe
from rewards.external.registry import close_external
from rewards.suite import RewardSuite
from tests.judge_server import judge_server, say, videos

FOLDER = Path(score_pickscore.__file__).parent
DECLARATIONS = sorted(FOLDER.glob("*.toml"))
HPSV3 = '''
import torch
class HPSv3RewardInferencer:
    """The interface of hpsv3 1.0.0: pictures and prompts by name, mean and spread for each."""
    def __init__(self, config_path=None, checkpoint_path=None, device="cuda", differentiable=False):
        assert device == "cpu" and checkpoint_path == "weights.safetensors"
    def reward(self, image_paths, prompts):
        assert len(image_paths) == len(prompts) == 8 and all(prompt == prompts[0] for prompt in prompts)
        red = [float(picture.resize((1, 1)).getpixel((0, 0))[0]) for picture in image_paths]
        return torch.tensor([[value / 20, 1.0] for value in red])
'''
VIDEOALIGN = '''
import imageio, torch
class VideoVLMRewardInference:
    """The interface of VideoAlign's inference.py: paths and prompts, a dict of z-scores for each."""
    def __init__(self, load_from_pretrained, load_from_pretrained_step=-1, device="cuda", dtype=torch.bfloat16):
        assert (load_from_pretrained, device, dtype) == ("checkpoint", "cpu", torch.bfloat16)
    def reward(self, video_paths, prompts, fps=None, num_frames=None, max_pixels=None, use_norm=True):
        assert use_norm and len(video_paths) == len(prompts)
        rows = []
        for path in video_paths:
            frames = imageio.mimread(path)
            colour = float(frames[0][..., 0].mean() - frames[0][..., 2].mean()) / 255
            rows.append({"VQ": colour, "MQ": colour, "TA": len(frames) / 10})
            rows[-1]["Overall"] = sum(rows[-1].values())
        return rows
'''


@pytest.fixture
def declared(monkeypatch, tmp_path):
    """Use the declarations of the examples; reward processes find stubs in `tmp_path` and use the CPU."""
    monkeypatch.setattr(folders, "_folders", lambda: [FOLDER])
    monkeypatch.setenv("REWARD_DEVICE", "cpu")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{FOLDER.parents[1]}")
    yield tmp_path
    close_external()


def red_clip(frames: int = 12) -> Clip:
    pictures = np.zeros((frames, 32, 48, 3), np.uint8)
    pictures[..., 0] = np.linspace(20, 200, frames).astype(np.uint8)[:, None, None]
    return Clip(frames=pictures, fps=8, prompt="a red light")


@pytest.mark.parametrize("file", DECLARATIONS, ids=lambda file: file.stem)
def test_declarations_are_valid_and_state_that_they_are_untested(file):
    declaration = read_declaration(file)
    assert declaration.of_prompt and declaration.licence != "not given" and declaration.source
    assert "Not tested with the published weights" in file.read_text().splitlines()[0]
    if declaration.python is not None:
        script = (FOLDER / declaration.python.function.split(":")[0]).read_text()
        assert "Not tested with the published weights" in " ".join(script.split())


def test_every_script_has_requirements_that_name_the_server():
    names = {file.stem.removeprefix("score_") for file in FOLDER.glob("score_*.py")}
    files = {file.stem: file.read_text() for file in (FOLDER / "requirements").glob("*.txt")}
    assert names == files.keys() - {"server"}
    assert all(text.startswith("-r server.txt") for name, text in files.items() if name != "server")


def test_hpsv3_takes_the_best_frames_by_the_interface_of_its_package(declared, monkeypatch):
    (declared / "hpsv3").mkdir()
    (declared / "hpsv3" / "__init__.py").write_text(HPSV3)
    monkeypatch.setenv("HPSV3_CHECKPOINT", "weights.safetensors")
    report = RewardSuite(Mix(key="m", title="M", weights={"hpsv3": 1.0}, calibration="mini")).score(red_clip())
    assert not report.missing
    red = np.linspace(20, 200, 12).astype(np.uint8)[np.rint(np.linspace(0, 11, 8)).astype(int)] / 20
    assert report.results["hpsv3"].raw == pytest.approx(np.sort(red)[-2:].mean())


def test_hpsv3_without_its_package_is_missing_with_the_reason(declared):
    error = run_probe("hpsv3").error
    assert "ModuleNotFoundError" in error and "hpsv3" in error


def test_videoalign_asks_for_motion_on_grey_frames(declared, monkeypatch):
    (declared / "inference.py").write_text(VIDEOALIGN)
    monkeypatch.setenv("VIDEOALIGN_REPO", str(declared))
    monkeypatch.setenv("VIDEOALIGN_CHECKPOINT", "checkpoint")
    keys = [f"{base}.{name}" for base in ("videoalign", "videoalign_grey") for name in score_videoalign.NAMES]
    mix = Mix(key="m", title="M", weights=dict.fromkeys(keys, 1.0), calibration="mini")
    report = RewardSuite(mix).score(red_clip())
    assert not report.missing
    raw = {key: report.results[key].raw for key in keys}
    assert raw["videoalign.VQ"] == pytest.approx(20 / 255, abs=0.03) and raw["videoalign.MQ"] == raw["videoalign.VQ"]
    assert raw["videoalign_grey.MQ"] == pytest.approx(0, abs=0.01)
    assert raw["videoalign_grey.VQ"] == raw["videoalign.VQ"] and raw["videoalign.TA"] == pytest.approx(1.2)
    assert raw["videoalign_grey.Overall"] == pytest.approx(raw["videoalign.VQ"] + raw["videoalign_grey.MQ"] + 1.2)


@pytest.fixture
def tiny_clip_model(tmp_path, monkeypatch):
    """A random CLIP of the class of PickScore, saved with its processor as the hub has them."""
    text = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8}
    heads = {"num_attention_heads": 2}
    torch.manual_seed(0)
    config = CLIPConfig(text_config={**text, **heads, "eos_token_id": 1}, vision_config={**vision, **heads})
    CLIPModel(config).save_pretrained(tmp_path / "model")
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, **{f"{letter}</w>": n + 2 for n, letter in enumerate("abcr")}}
    tokenizer = CLIPTokenizerFast(vocab=words, merges=[])
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(tmp_path / "processor")
    monkeypatch.setattr(score_pickscore, "MODEL", str(tmp_path / "model"))
    monkeypatch.setattr(score_pickscore, "PROCESSOR", str(tmp_path / "processor"))
    score_pickscore.load.cache_clear()
    yield
    score_pickscore.load.cache_clear()


@pytest.mark.usefixtures("tiny_clip_model")
def test_pickscore_is_the_scaled_cosine_of_a_clip_model():
    clip = red_clip()
    model, processor = score_pickscore.load()
    inputs = processor(text=["a b"], images=[Image.fromarray(clip.frames[0])], return_tensors="pt")
    with torch.no_grad():
        found, scale = model(**inputs), model.logit_scale.exp()
    cosine = torch.nn.functional.cosine_similarity(found.image_embeds, found.text_embeds)
    scores = score_pickscore.frame_scores("a b", clip.frames)
    assert len(scores) == 8
    assert scores[0] == pytest.approx(float(scale * cosine), abs=1e-4)
    assert score_pickscore.score(["a b"], [clip.frames]) == [best_frames_mean(scores)]


SPECIAL = ("<|endoftext|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}{% if part.type == 'video' %}"
    "<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
)


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each byte, and the special tokens of Qwen2.5-VL."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=SPECIAL[0], eos_token=SPECIAL[0], clean_up_tokenization_spaces=False
    )


def test_videoscore2_generates_and_reads_with_a_model_of_its_class(monkeypatch):
    tokenizer = letter_tokenizer()
    ids = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE,
    )
    monkeypatch.setattr(score_videoscore2, "load", lambda: (model, processor))
    monkeypatch.setattr(score_videoscore2, "MAX_NEW_TOKENS", 4)
    given, generate = {}, model.generate
    monkeypatch.setattr(model, "generate", lambda **inputs: given.update(inputs) or generate(**inputs))
    clip = red_clip(40)
    scores = score_videoscore2.score(["a red light"], [clip.frames], [clip.fps])
    assert given["second_per_grid_ts"].tolist() == [1.0], "2 frames of a patch at 2 frames per second"
    assert scores == {"visual": [None], "alignment": [None], "physics": [None]}  # a random model has no last line


def test_videoscore2_reads_expected_digits_at_the_last_place():
    answer = (
        "The visual quality: 1 at first. visual quality: 4; text-to-video alignment: 2, "
        "physical/common-sense consistency: 9"
    )
    tokenizer = letter_tokenizer()
    tokens = tokenizer.encode(answer)
    assert len(tokens) == len(answer)
    logits = [torch.zeros(len(tokenizer)) for _ in tokens]
    four, five = tokenizer.encode("45")
    place = answer.index("4;")
    logits[place][four] = logits[place][five] = 20.0
    scores = score_videoscore2.expected_scores(tokens, logits, tokenizer)
    assert scores["visual"] == pytest.approx(4.5)
    assert scores["alignment"] == pytest.approx(3.0)  # equal logits: the mean of 1 to 5
    assert scores["physics"] is None


ASPECTS = "(1) visual quality - clarity: 3\n(2) text-to-video alignment: 4\n(3) physical/common-sense consistency: 5"


@pytest.mark.parametrize(
    ("answer", "digits"),
    [
        (ASPECTS, [3, 4, 5]),
        (f"<think>visual quality: 1</think>{ASPECTS}", [3, 4, 5]),
        ("<think>visual quality: 1, and", [None] * 3),
        ("I rate (1) visual quality; (2) text-to-video alignment; (3) physical/common-sense consistency.", [None] * 3),
    ],
)
def test_videoscore2_reads_scores_and_no_numbering(answer, digits):
    tokenizer = letter_tokenizer()
    tokens = tokenizer.encode(answer)
    logits = torch.zeros(len(tokens), len(tokenizer))
    logits[torch.arange(len(tokens)), torch.tensor(tokens)] = 30.0
    scores = score_videoscore2.expected_scores(tokens, list(logits), tokenizer)
    assert list(scores.values()) == pytest.approx(digits)


def test_unifiedreward_is_asked_and_read_in_its_format(declared, monkeypatch):
    text = "Alignment Score (1-5): 2.5\nPhysics Score (1-5): 3.0987\nStyle Score (1-5): 5"
    source = (FOLDER / "unifiedreward.toml").read_text()
    with judge_server(lambda body: say(text)) as judge:
        (declared / "unifiedreward.toml").write_text(source.replace("http://127.0.0.1:8000/v1", judge.url))
        monkeypatch.setattr(folders, "_folders", lambda: [declared])
        keys = [f"unifiedreward.{name}" for name in ("alignment", "physics", "style")]
        suite = RewardSuite(Mix(key="m", title="M", weights=dict.fromkeys(keys, 1.0), calibration="mini"))
        report = suite.score(red_clip(20))
        judge.behaviour = lambda body: say("Alignment Score (1-5): 2")
        failed = suite.score(red_clip(19))
    assert [report.results[key].raw for key in keys] == [2.5, 3.0987, 5.0]
    assert report.parts[keys[0]] == pytest.approx(0.375)
    assert len(judge.requests) == 2 and len(videos(judge.requests[0])[0]) == 16
    assert "Text Caption: [a red light]" in judge.requests[0]["messages"][0]["content"][-1]["text"]
    assert "no number after 'Physics Score (1-5)'" in failed.missing[keys[1]]


def test_parts_of_frame_rewards():
    assert best_frames_mean([0, 0, 0, 0, 0, 0, 0, 3, 2, 1]) == 2.0
    assert best_frames_mean([5.0], share=0.01) == 5.0
    for scores in ([], [1.0, math.nan]):
        with pytest.raises(RewardError, match="must be finite and at least one"):
            best_frames_mean(scores)
    clip = red_clip()
    assert [int(frame[0, 0, 0]) for frame in even_frames(clip.frames, 2)] == [20, 200]
    assert len(even_frames(clip.frames, 99)) == 12
    grey = grey_frames(clip.frames)
    assert grey.shape == clip.frames.shape and np.array_equal(grey[..., 0], grey[..., 2])
