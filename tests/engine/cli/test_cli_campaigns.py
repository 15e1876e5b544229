"""`dailies campaigns`: a campaign from a shell, from its making to the pairs that came of it."""

import json
import uuid

import numpy as np
import pytest

from engine.cli.main import main
from engine.config.presets import load_preset
from engine.labelling.campaigns import Campaigns
from engine.labelling.votes import Vote
from engine.storage.clip_files import FILES, save_clip
from engine.storage.library import ClipRecord, Library
from rewards.calibration import mix_calibration
from rewards.clip import Clip


@pytest.fixture
def clips(workspace):
    """Two prompts by two models, and the store closed again."""
    store, ids = Library(workspace), []
    for prompt in ("a red ball", "a blue ball"):
        for model in ("m0", "m1"):
            ids.append(f"{len(ids) + 1:016x}")
            frames = np.random.default_rng(len(ids)).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
            save_clip(workspace, ids[-1], Clip(frames=frames, fps=8.0, prompt=prompt))
            shape = {"num_frames": 5, "width": 32, "height": 32, "fps": 8.0, "source": "generated"}
            store.add_clip(ClipRecord(id=ids[-1], prompt=prompt, model=model, **shape))
    store.close()
    return ids


@pytest.fixture
def put_scored():
    """`put_scored(store)`: two clips of each of twelve prompts, the odd ids with the better seam by the mix mini."""

    def put(store) -> list[str]:
        ids = [f"{number:016x}" for number in range(24)]
        for number, clip in enumerate(ids):
            shape = {"num_frames": 5, "width": 32, "height": 32, "fps": 8.0, "source": "generated"}
            store.add_clip(ClipRecord(id=clip, prompt=f"prompt {number // 2}", model=f"m{number % 2}", **shape))
            folder = store.workspace.clip_folder(clip)
            folder.mkdir(parents=True)
            for name in FILES:
                (folder / name).write_text("a clip")
            values = {"seam": 0.4 + 0.3 * (number % 2), "t_lpips": (number * 7 % 24) / 24}
            results = {key: {"value": value} for key, value in values.items()}
            present = mix_calibration(load_preset("rewards", "mini"))
            store.save_report(clip, "mini", {"total": 0.5, "results": results, "calibration": present})
        return ids

    return put


def run_json(capsys, *arguments: str):
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_a_campaign_from_its_making_to_its_pairs(clips, workspace, capsys, tmp_path):
    made = run_json(capsys, "campaigns", "create", "balls", "--clips", *clips, "--people", "2")
    assert made["pairs"] == 2 and made["jobs"] == []
    store = Library(workspace)
    campaigns = Campaigns(store)
    for one in campaigns.next_pairs(made["id"], "ann"):
        fields = {"pair_id": one.pair_id, "choice": "left", "shown_left": one.left_clip}
        campaigns.vote(Vote.read({**fields, "client_uuid": str(uuid.uuid4())}, "ann"))
    store.close()
    (listed,) = run_json(capsys, "campaigns", "ls")
    assert (listed["id"], listed["votes"], listed["target"]) == (made["id"], 2, 4)
    shown = run_json(capsys, "campaigns", "show", made["id"])
    assert shown["ranking"]["votes"] == 2 and shown["progress"]["labellers"][0]["labeller"] == "ann"
    assert main(["campaigns", "show", made["id"]]) == 0
    assert "2 of 4 votes on 2 pairs" in capsys.readouterr().out
    assert run_json(capsys, "campaigns", "export", made["id"], str(tmp_path / "out"), "--layout", "trl")["pairs"] == 2
    assert run_json(capsys, "campaigns", "import", str(tmp_path / "out"), "--name", "back")["pairs"] == 2
    votes = str(tmp_path / "votes.csv")
    assert run_json(capsys, "campaigns", "export", made["id"], votes, "--layout", "votes") == {"votes": 2}
    assert run_json(capsys, "campaigns", "import", votes, "--campaign", made["id"])["known"] == 2


def test_a_mix_is_learned_from_votes_and_can_be_used(workspace, put_scored, capsys):
    """Twelve prompts, people always for the clip with the better seam."""
    store = Library(workspace)
    ids = put_scored(store)
    made = run_json(capsys, "campaigns", "create", "seams", "--clips", *ids)
    campaigns = Campaigns(store)
    while ahead := campaigns.next_pairs(made["id"], "ann"):
        choice = "left" if int(ahead[0].left_clip, 16) % 2 else "right"
        fields = {"pair_id": ahead[0].pair_id, "choice": choice, "shown_left": ahead[0].left_clip}
        campaigns.vote(Vote.read({**fields, "client_uuid": str(uuid.uuid4())}, "ann"))
    store.close()
    learned = run_json(capsys, "campaigns", "learn", made["id"], "from_people", "--mix", "mini")
    assert learned["accuracy"] == 1.0 and learned["weights"]["seam"] > 0.8
    assert load_preset("rewards", "from_people").weights == learned["weights"]
    assert main(["campaigns", "learn", made["id"], "from_people", "--mix", "mini"]) == 2
    assert "A mix named 'from_people' exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create", "t", "--entrant", "mini"], "belong together"),
        (["create", "t", "--clips", "0" * 16], "no clip"),
        (["create", "t", "--clips", "0" * 16, "--strategy", "guess"], "strategy"),
        (["create", "t", "--entrant", "mini", "--set", "num_frames"], "--set takes KEY=VALUE"),
        (["create", "t", "--clips", "0" * 16, "--set", "fps=" + "[" * 50_000], "(50002 characters) is invalid"),
        (["show", "nowhere"], "no campaign 'nowhere'"),
        (["import", "nowhere"], "nowhere does not exist"),
    ],
)
def test_what_cannot_work_is_one_sentence(arguments, sentence, capsys):
    assert main(["campaigns", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_a_layout_that_is_none_is_refused(clips, capsys, tmp_path):
    made = run_json(capsys, "campaigns", "create", "balls", "--clips", *clips)
    assert main(["campaigns", "export", made["id"], str(tmp_path / "x"), "--layout", "huggingfac"]) == 2
    assert "Did you mean 'huggingface'?" in capsys.readouterr().err
