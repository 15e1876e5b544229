"""Anchors are frozen, cover every measurement, and point the right way."""

import json
from pathlib import Path

import numpy as np
import pytest

from rewards import REWARDS, RewardError
from rewards.calibration import PATH, PUBLISHED, Calibration, CalibrationFile, CalibrationSet, read_calibration
from rewards.external.declaration import Anchors
from rewards.matrix.reference_clips import read_reference
from tools.rewards.calibrate import RULES, changes_values, measure, merged, moved

FILE = CalibrationFile.model_validate_json(PATH.read_bytes())
LOWER_IS_BETTER = ("flow_smoothness", "flow_smoothness.roughness", "seam.z", "seam.unknown.z", "seam.critic")


def test_the_map_is_linear_between_the_anchors_and_flat_beyond() -> None:
    anchors = {"up": Anchors(bad=1, good=3), "down": Anchors(bad=0.8, good=0.3)}
    calibration = Calibration(name="test", anchors=anchors)
    assert calibration.map("up", np.array([0, 1, 2, 3, 9, np.nan])) == pytest.approx(
        [0, 0, 0.5, 1, 1, np.nan], nan_ok=True
    )
    assert [calibration.map("down", raw) for raw in (1.0, 0.55, 0.0)] == pytest.approx([0, 0.5, 1])
    with pytest.raises(RewardError, match="no anchors for 'sideways'"):
        calibration.map("sideways", 1.0)


@pytest.mark.parametrize("domain", ["real", "mini"])
def test_every_rule_has_anchors_and_every_anchor_a_rule(domain: str) -> None:
    anchors = FILE.sets[domain].anchors
    assert {*anchors, *PUBLISHED} >= {key for key, rule in RULES.items() if domain in rule.domains}
    assert {key.split(".")[0] for key in anchors} <= REWARDS.keys()
    for key in LOWER_IS_BETTER:
        assert anchors[key].good < anchors[key].bad
    for key in ("structure_constancy", "aesthetic.technical", "framing", "novelty_after_k.histogram", "first_frame"):
        assert anchors[key].good > anchors[key].bad


@pytest.mark.parametrize("domain", ["real", "mini"])
def test_the_file_names_the_clips_that_it_was_taken_from(domain: str) -> None:
    assert FILE.command == "python -m tools.rewards.calibrate"
    assert set(FILE.sets[domain].clips) == set(read_reference(domain))
    assert read_calibration(domain).name == f"{domain}-{FILE.version}"


def test_a_missing_set_or_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="no calibration set 'lunar'"):
        read_calibration("lunar")
    (tmp_path / "broken.json").write_text("{", encoding="utf8")
    for name in ("broken.json", "absent.json"):
        with pytest.raises(RewardError, match="cannot be read"):
            read_calibration("real", tmp_path / name)


def test_only_a_real_move_raises_the_version() -> None:
    one = CalibrationSet(clips=("a",), anchors={"x": Anchors(bad=0, good=1)})
    near = CalibrationSet(clips=("a",), anchors={"x": Anchors(bad=0.001, good=1)})
    far = CalibrationSet(clips=("a",), anchors={"x": Anchors(bad=0.2, good=1)})
    more = CalibrationSet(clips=("a",), anchors={**one.anchors, "y": Anchors(bad=0, good=1)})
    others = CalibrationSet(clips=("b",), anchors=one.anchors)
    assert not moved({"d": one}, {"d": near})
    assert moved({"d": one}, {"d": far}) and moved({"d": one}, {"d": more}) and moved({"d": one}, {"d": others})


def test_a_new_measurement_changes_no_value_that_was_there() -> None:
    """So the version stays, and totals of before are not out of date."""
    one = CalibrationSet(clips=("a",), anchors={"x": Anchors(bad=0, good=1)})
    more = CalibrationSet(clips=("a",), anchors={**one.anchors, "y": Anchors(bad=0, good=1)})
    far = CalibrationSet(clips=("a",), anchors={"x": Anchors(bad=0.2, good=1), "y": Anchors(bad=0, good=1)})
    others = CalibrationSet(clips=("b",), anchors=more.anchors)
    assert not changes_values({"d": one}, {"d": more}) and not changes_values({"d": one}, {"d": one})
    assert changes_values({"d": one}, {"d": far}) and changes_values({"d": one}, {"d": others})


def test_one_reward_can_be_measured_alone(tmp_path: Path) -> None:
    old = CalibrationSet(clips=("mini_0",), anchors={"x": Anchors(bad=0, good=1)})
    clips = PATH.parent / "clips"
    manifest = {"mini_0": json.loads((clips / "manifest.json").read_text(encoding="utf8"))["mini_0"]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf8")
    (tmp_path / "mini_0.npz").symlink_to(clips / "mini_0.npz")
    found = merged(old, measure("mini", ["aesthetic"], folder=tmp_path))
    assert found.anchors.keys() == {"x", "aesthetic.technical"} and found.anchors["x"] == old.anchors["x"]
    assert found.anchors["aesthetic.technical"].good > found.anchors["aesthetic.technical"].bad + 0.2
    with pytest.raises(RewardError, match="Did you mean 'aesthetic'"):
        measure("mini", ["aesthetics"])


def test_reference_clips_say_their_licence() -> None:
    folder = PATH.parent / "clips"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf8"))
    assert all(entry["licence"] for entry in manifest.values())
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4e6
