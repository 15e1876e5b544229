"""`dailies hub push` with the real client, against a hub on loopback."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from engine.cli.downloads.hub import adapter_card
from engine.cli.main import main
from engine.families.lora_files import WEIGHTS_FILE, Lora, read_parts, write_parts
from engine.package_data import PRESETS
from engine.runs.adapters import AdapterCard, add_adapter, get_adapter
from engine.workspace import Workspace
from tests.stub_hub import TOKEN, StubHub, running_hub, use_hub

# The hub's client uploads files in an old way of httpx.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
LAYER = "transformer_blocks.0.attn1.to_q"
Push = Callable[..., Any]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    with running_hub() as hub:
        hub.uploads = tmp_path / "uploads"
        use_hub(hub, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def push(hub: StubHub, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Push:
    """`push(words, refused=False)`: what the command prints as JSON, or the sentence of its refusal."""

    def run(*words: str, refused: bool = False) -> Any:
        code = main(["hub", "push", *words, "--json", "--workspace", str(workspace.root)])
        out, err = capsys.readouterr()
        assert code == (2 if refused else 0), err
        return err if refused else json.loads(out)

    return run


@pytest.fixture
def adapter(workspace: Workspace) -> Lora:
    torch.manual_seed(0)
    tensors = {f"{LAYER}.lora_A.weight": torch.randn(2, 600), f"{LAYER}.lora_B.weight": torch.randn(600, 2)}
    lora = Lora(tensors=tensors, alphas={LAYER: 6.0})
    card = AdapterCard(model="ltx", note="Made here.", trigger="in the rain")
    add_adapter(workspace, "rain", card, lambda path: write_parts(path, {"transformer": lora}))
    return lora


def test_an_adapter_arrives_whole_with_a_card(push: Push, hub: StubHub, adapter: Lora) -> None:
    told = push("adapter", "rain", "me/rain")
    assert told["page"] == f"{hub.address}/me/rain" and told["files"] == 2
    folder = hub.uploads / "model" / "me" / "rain"
    read = read_parts(folder)["transformer"]
    assert (folder / WEIGHTS_FILE).stat().st_size > 4096, "sent as a large file"
    assert all(torch.equal(read.tensors[key], tensor) for key, tensor in adapter.tensors.items())
    card = (folder / "README.md").read_text()
    assert "base_model: Lightricks/LTX-Video" in card and "Put this text into prompts: in the rain" in card
    assert "Licence of the base model: Lightricks" in card
    (folder / "README.md").write_text("my own")
    push("adapter", "rain", "me/rain", "--format", "kohya")
    assert (folder / "README.md").read_text() == "my own", "a card that is there stays"
    assert {path.name for path in folder.iterdir()} == {"README.md", WEIGHTS_FILE, "rain.safetensors"}
    assert set(hub.tokens) <= {f"Bearer {TOKEN}"}


def test_a_folder_becomes_a_dataset(push: Push, hub: StubHub, tmp_path: Path) -> None:
    (tmp_path / "pairs" / "clips").mkdir(parents=True)
    (tmp_path / "pairs" / "rows.jsonl").write_text("{}\n")
    (tmp_path / "pairs" / "clips" / "a.mp4").write_bytes(bytes(range(256)) * 40)
    assert push("folder", str(tmp_path / "pairs"), "me/pairs", "--dataset")["type"] == "dataset"
    folder = hub.uploads / "dataset" / "me" / "pairs"
    assert (folder / "clips" / "a.mp4").read_bytes() == bytes(range(256)) * 40
    assert (folder / "rows.jsonl").read_text() == "{}\n"


def test_nothing_private_goes_into_a_public_repository(push: Push, hub: StubHub, adapter: Lora, tmp_path: Path) -> None:
    push("adapter", "rain", "me/secret", "--private")
    push("adapter", "rain", "me/secret", "--private")
    assert hub.private == {"me/secret"} and (hub.uploads / "model" / "me" / "secret" / WEIGHTS_FILE).is_file()
    for kind, words in (("model", ("adapter", "rain")), ("dataset", ("folder", str(tmp_path / "pairs"), "--dataset"))):
        folder = hub.uploads / kind / "me" / "open"
        folder.mkdir(parents=True)
        (tmp_path / "pairs").mkdir(exist_ok=True)
        (tmp_path / "pairs" / "rows.jsonl").write_text("{}\n")
        assert "is public: nothing was uploaded" in push(*words, "me/open", "--private", refused=True)
        assert not any(folder.iterdir())


def test_refusals(push: Push, hub: StubHub, adapter: Lora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Unknown adapter 'rein'. Did you mean 'rain'?" in push("adapter", "rein", "me/rain", refused=True)
    assert "is no folder with files" in push("folder", str(tmp_path / "gone"), "me/x", refused=True)
    assert "'me' is no hub id such as 'owner/name'" in push("adapter", "rain", "me", refused=True)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "The hub refuses access to 'me/rain' (401)" in push("adapter", "rain", "me/rain", refused=True)
    monkeypatch.delenv("HF_TOKEN")
    assert "needs an access token with the right to write" in push("adapter", "rain", "me/rain", refused=True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "files that arrived are not sent again" in push("adapter", "rain", "me/rain", refused=True)


def test_the_base_of_an_adapter_is_a_repository_of_the_hub(adapter: Lora, workspace: Workspace) -> None:
    """That of the trained network, without its revision; none for a local model."""
    saved = workspace.saved / "models"
    saved.mkdir(parents=True, exist_ok=True)
    text = (PRESETS / "models" / "wan21_1_3b.toml").read_text()
    found = get_adapter(workspace, "rain")
    for parts, base in (("{}", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"), ('{transformer = "me/tuned@v2"}', "me/tuned")):
        (saved / "mine.toml").write_text(f"parts = {parts}\n{text}")
        card = adapter_card(replace(found, card=found.card.model_copy(update={"model": "mine"})))
        assert f"\nbase_model: {base}\n" in card
    assert "base_model" not in adapter_card(replace(found, card=found.card.model_copy(update={"model": "mini"})))
