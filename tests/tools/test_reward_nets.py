"""Training data and scripts of the embedded networks of the rewards, with a few steps."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.mini import world
from rewards.networks.captions import Captioner, Similarity
from rewards.networks.open_clip_model import OpenClip
from tools.mini import stills, train_captioner, train_clip, train_similarity

RED_STAR = world.Subject("star", "red", "medium", 32.0, 32.0)
BLUE_BALL = world.Subject("circle", "blue", "small", 16.0, 16.0)
NIGHT = world.Scene((RED_STAR,), "still", "night")
BOTH = replace(NIGHT, subjects=(RED_STAR, BLUE_BALL))
SCENES = [world.sample_scene(np.random.default_rng([7, k])) for k in range(60)]


def test_a_frame_shows_only_what_is_in_the_picture() -> None:
    leaving = world.Scene((replace(RED_STAR, x=50.0),), "right", "white")
    seen = stills.as_seen(leaving, 24)
    assert seen[0] == leaving
    assert None in seen, "cut in between"
    gone = [scene for scene in seen if scene is not None and not scene.shown]
    assert gone and stills.caption(gone[0]) == "nothing on a white background"


def test_what_comes_late_is_not_told_before() -> None:
    late = world.Scene((RED_STAR,), "still", "night", late=replace(BLUE_BALL, y=14.0))
    seen = stills.as_seen(late, 33)
    assert seen[0] == NIGHT and seen[32] == late
    assert "enters" in world.prompt(late) and "enters" not in world.prompt(seen[0])


def test_captions_and_looks_leave_order_and_motion_out() -> None:
    turned = replace(BOTH, subjects=(BLUE_BALL, RED_STAR), motion="left")
    assert stills.caption(turned) == stills.caption(BOTH) == "a blue circle and a red star at night"
    assert stills.look_of(turned) == stills.look_of(BOTH)
    assert stills.caption(world.Scene((replace(RED_STAR, colour="orange"),), "up", "desert")).startswith("an orange")


def test_swapped_scenes_look_different_by_one_attribute() -> None:
    rng = np.random.default_rng(0)
    for scene in SCENES:
        others = stills.swapped(scene, rng, 15)
        looks = {stills.look_of(other) for other in others}
        assert len(looks) == len(others) == 15 and stills.look_of(scene) not in looks
        assert all(len(set(world.prompt(other).split()) - set(world.prompt(scene).split())) <= 4 for other in others)
    assert {stills.exchange_colours(BOTH, rng).subjects[0].colour for _ in range(3)} == {"blue"}
    assert stills.exchange_colours(NIGHT, rng) == NIGHT


def test_cells_are_marked_where_the_subject_is() -> None:
    marks = stills.mark_cells(BOTH, np.array([0, 5]))
    assert marks.shape == (2, 8, 8, 2) and (marks[0] == marks[1]).all()
    assert marks[0, 4, 4].tolist() == [list(world.COLOURS).index("red") + 1, world.SHAPES.index("star") + 1]
    assert marks[0, 2, 2, 0] == list(world.COLOURS).index("blue") + 1 and not marks[0, 7].any()


def test_the_bank_is_drawn_once_and_its_moments_show_the_same(tmp_path: Path) -> None:
    bank = stills.read_bank(tmp_path / "bank.npy", 12)
    stamp = (tmp_path / "bank.npy").stat().st_mtime_ns
    again = stills.read_bank(tmp_path / "bank.npy", 12)
    assert (tmp_path / "bank.npy").stat().st_mtime_ns == stamp and again.scenes == bank.scenes
    assert bank.frames.shape == (12, stills.PER_SCENE, 64, 64, 3) and np.array_equal(bank.frames, again.frames)
    assert all(scene.shown for scene in bank.scenes)
    held_out, _ = stills.draw_scenes(10, 0, held_out=True)
    assert all(world.is_held_out(scene) for scene in held_out)


def test_disturbed_frames_stay_pictures() -> None:
    frames = world.render(NIGHT, 20)
    out = stills.disturb(frames, np.random.default_rng(0))
    assert out.shape == (20, 3, 64, 64) and out.dtype == np.float32 and 0 <= out.min() and out.max() <= 1
    assert 0 < np.abs(out - frames.transpose(0, 3, 1, 2) / 255).mean() < 0.1


@pytest.mark.parametrize(
    ("other", "agreed"),
    [
        (replace(NIGHT, motion="left"), 1.0),
        (replace(NIGHT, background="desert"), 0.75),
        (replace(NIGHT, subjects=(replace(RED_STAR, colour="blue"),)), 0.625),
        (BOTH, 0.625),
        (replace(NIGHT, subjects=()), 0.25),
    ],
)
def test_agreement_counts_what_a_still_can_tell(other: world.Scene, agreed: float) -> None:
    assert train_similarity.agreement(NIGHT, other) == train_similarity.agreement(other, NIGHT) == agreed
    assert train_similarity.agreement(BOTH, replace(BOTH, subjects=(BLUE_BALL, RED_STAR))) == 1


def test_words_of_one_meaning_are_one() -> None:
    tokenizer = train_similarity.make_pair_tokenizer()
    words = train_similarity.tokenize(tokenizer, [("a red ball at night", "a blue circle at night", 0.0)])
    meaning = train_similarity.meanings(tokenizer)[words["input_ids"]]
    repeated = train_similarity.is_repeated(meaning, words["token_type_ids"])[0] & (meaning[0] > 0)
    told = [tokenizer.convert_ids_to_tokens(int(i)) for i in words["input_ids"][0][repeated]]
    assert told == ["ball", "night", "circle", "night"]


def test_the_contrast_is_nothing_when_all_is_told_right() -> None:
    right = torch.eye(3, 5, dtype=torch.bool)
    same = torch.zeros_like(right)
    same[0, 4] = True
    assert train_clip.contrast(40.0 * (right | same), right, same).item() == pytest.approx(0, abs=1e-5)
    assert train_clip.contrast(torch.zeros(3, 5), right, same).item() > 1


def test_cells_without_a_shape_do_not_count_for_shapes() -> None:
    marks = torch.from_numpy(stills.mark_cells(NIGHT, np.array([0])))
    colours = 30.0 * torch.nn.functional.one_hot(marks[..., 0], 9).movedim(-1, 1)
    shapes = torch.zeros(1, 6, 8, 8)
    assert stills.reading_loss(colours, shapes, marks).item() == pytest.approx(np.log(6), rel=1e-4)
    shapes[0, world.SHAPES.index("star")] = 30.0
    assert stills.reading_loss(colours, shapes, marks).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("maker", [train_clip.make_tokenizer, train_captioner.make_tokenizer])
def test_tokenizers_know_all_that_is_said(maker: object) -> None:
    tokenizer, rng = maker(), np.random.default_rng(1)
    for scene in SCENES:
        for text in (world.prompt(scene, rng), stills.caption(scene, rng), "nothing at night"):
            ids = tokenizer(text).input_ids
            assert tokenizer.unk_token_id not in ids and len(ids) <= train_clip.CONTEXT, text


def run(script: object, folder: Path, steps: int, *options: str) -> dict[str, object]:
    script.main(["--work", str(folder / "work"), "--out", str(folder / "out"), "--steps", str(steps), *options])
    return json.loads((folder / "out" / "training.json").read_text())


def test_clips_script_resumes_and_open_clip_loads_what_it_writes(tmp_path: Path) -> None:
    options = ("--scenes", "26", "--clips", "2")
    run(train_clip, tmp_path, 1, *options)
    record = run(train_clip, tmp_path, 2, *options)
    assert torch.load(tmp_path / "work" / "clip.pt", weights_only=True)["step"] == 2
    assert record["steps"] == 2 and 0 <= record["right_prompt"]["any_of_16"] <= 1
    network = OpenClip(tmp_path / "out")
    assert network.encode_frames([world.render(NIGHT, 1)[0]]).shape == (1, 128)
    assert network.known_share("a red star at night") == 1 and network.known_share("dragon") == 0


def test_stopping_changes_nothing(tmp_path: Path) -> None:
    for folder, stops in (("a", (2,)), ("b", (1, 2))):
        for steps in stops:
            run(train_similarity, tmp_path / folder, steps, "--pairs", "4")
    whole, halves = (torch.load(tmp_path / f / "work" / "similarity.pt", weights_only=True)["model"] for f in "ab")
    assert all(torch.equal(value, halves[name]) for name, value in whole.items()) and len(whole) == len(halves)


def test_captioners_script_writes_what_blip_loads(tmp_path: Path) -> None:
    record = run(train_captioner, tmp_path, 2, "--scenes", "50", "--clips", "3")
    assert record["right"].keys() == {"colour", "shape", "background", "count", "caption"}
    captions = Captioner(tmp_path / "out")([world.render(NIGHT, 1)[0]])
    assert len(captions) == 1 and 0 < captions[0].confidence <= 1


def test_similaritys_script_writes_what_transformers_loads(tmp_path: Path) -> None:
    record = run(train_similarity, tmp_path, 2, "--pairs", "8")
    assert 0 <= record["agreement"]["mean_error"] <= 1
    assert 0 <= Similarity(tmp_path / "out")([("a red star", "a blue heart at night")])[0] <= 1
