"""ROCm's environment: what is set, what the user's own word changes, and what is warned of."""

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.hardware import environment as rules
from engine.hardware.environment import environment, process_environment
from engine.hardware.rocm import read_build, torch_build
from engine.workspace import Workspace


def test_torch_is_told_apart_without_importing_it(tmp_path: Path) -> None:
    import torch

    assert torch_build().version == str(torch.__version__)
    assert torch_build().hip == (torch.version.hip or "")
    (tmp_path / "version.py").write_text("__version__ = '2.12.0+rocm7.2'\ncuda = None\nhip = '7.2.53211'\n")
    build = read_build(tmp_path / "version.py")
    assert (build.version, build.hip, build.cuda) == ("2.12.0+rocm7.2", "7.2.53211", "")
    assert read_build(tmp_path / "nothing.py").hip == ""


def test_nothing_is_set_without_rocm(workspace: Workspace) -> None:
    found = environment(workspace, {"ROCR_VISIBLE_DEVICES": "1"}, rocm=False)
    assert (found.settings, found.warnings, found.variables) == ((), (), {})


def test_the_preset_and_why(workspace: Workspace) -> None:
    found = environment(workspace, {}, rocm=True)
    assert found.variables["MIOPEN_FIND_MODE"] == "FAST"
    assert found.variables["MIOPEN_USER_DB_PATH"].startswith(str(workspace.root))
    assert found.variables["PYTORCH_ALLOC_CONF"] == "expandable_segments:False"
    assert "ROCR_VISIBLE_DEVICES" not in found.variables
    assert all(one.reason.endswith(".") for one in found.settings)


def test_the_users_word_wins_and_is_shown(workspace: Workspace) -> None:
    user = {"MIOPEN_FIND_MODE": "NORMAL", "PYTORCH_HIP_ALLOC_CONF": "expandable_segments:True"}
    found = environment(workspace, user, rocm=True)
    own = {one.name: one for one in found.settings if one.origin == "user"}
    assert own["MIOPEN_FIND_MODE"].value == "NORMAL" and own["MIOPEN_FIND_MODE"].preset == "FAST"
    assert "PYTORCH_ALLOC_CONF" not in found.variables and own["PYTORCH_HIP_ALLOC_CONF"]
    assert "Expandable segments are on" in found.warnings[0]


def test_hidden_devices_are_reported(workspace: Workspace) -> None:
    user = {"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "1", "HSA_OVERRIDE_GFX_VERSION": "9.4.2"}
    found = environment(workspace, user, rocm=True)
    assert "ROCR_VISIBLE_DEVICES=1" in found.warnings[0] and "may hide every GPU" in found.warnings[0]
    assert "HSA_OVERRIDE_GFX_VERSION" in found.warnings[1]
    assert {one.name for one in found.settings if one.origin == "user"} == set(user)


def test_processes_get_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "is_rocm", lambda: True)
    monkeypatch.setenv("MIOPEN_FIND_MODE", "NORMAL")
    found = process_environment(workspace)
    assert found["MIOPEN_FIND_MODE"] == "NORMAL" and found["PATH"]
    assert workspace.miopen.is_dir()


@pytest.mark.parametrize(
    ("user", "given"),
    [
        ({"HIP_VISIBLE_DEVICES": "1"}, {}),
        ({"ROCR_VISIBLE_DEVICES": "2,3"}, {"HIP_VISIBLE_DEVICES": "2,3"}),
        ({"ROCR_VISIBLE_DEVICES": "2, 3", "HIP_VISIBLE_DEVICES": "1"}, {"HIP_VISIBLE_DEVICES": "3"}),
        (
            {"ROCR_VISIBLE_DEVICES": "GPU-ab,GPU-cd", "HIP_VISIBLE_DEVICES": "1,0"},
            {"HIP_VISIBLE_DEVICES": "GPU-cd,GPU-ab"},
        ),
        ({"ROCR_VISIBLE_DEVICES": "GPU-ab", "HIP_VISIBLE_DEVICES": "GPU-ab"}, {"HIP_VISIBLE_DEVICES": "GPU-ab"}),
        ({"ROCR_VISIBLE_DEVICES": ""}, {"HIP_VISIBLE_DEVICES": ""}),
    ],
)
def test_devices_are_chosen_by_hip_alone(
    user: dict[str, str], given: dict[str, str], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "is_rocm", lambda: True)
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in user.items():
        monkeypatch.setenv(name, value)
    found = process_environment(workspace)
    assert "ROCR_VISIBLE_DEVICES" not in found
    assert found["HIP_VISIBLE_DEVICES"] == {**user, **given}["HIP_VISIBLE_DEVICES"]


@pytest.mark.parametrize("hip", ["1", "0,1", "GPU-ff"])
def test_devices_that_contradict_themselves_are_refused(
    hip: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "is_rocm", lambda: True)
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", hip)
    with pytest.raises(ConfigError, match=f"HIP_VISIBLE_DEVICES={hip} names a GPU"):
        process_environment(workspace)


def test_tf32_is_a_choice_and_no_search_for_kernels_on_rocm(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from engine.hardware.rocm import choose_kernels

    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision, torch.backends.cudnn.benchmark
    try:
        choose_kernels()
        assert matmul.fp32_precision == before[0]
        monkeypatch.setattr(torch.version, "hip", "7.2")
        monkeypatch.setenv("DAILIES_TF32", "1")
        torch.backends.cudnn.benchmark = True
        choose_kernels()
        assert matmul.fp32_precision == "tf32" and not torch.backends.cudnn.benchmark
    finally:
        matmul.fp32_precision, torch.backends.cudnn.benchmark = before
