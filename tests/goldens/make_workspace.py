"""Make the workspace that later code has to open: `python tests/goldens/make_workspace.py`.

It goes through the command line and the page's server, as a person does, and packs what they leave behind into
workspace.tar.xz, with what `workspace_contents.contents` reads of it in workspace.json. Every time stamp and id is new
each time, so record it only when the product changes on purpose what it stores; say in the commit why.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from record import HERE, write
from workspace_contents import contents, last_json

PROMPT, OTHER = "a red circle moving right on a white background", "a blue square standing still over a meadow"
SMALL = ("--frames", "17", "--steps", "3", "--mix", "small")
SETTINGS = {"num_frames": 17, "num_steps": 3, "guidance": 1.0, "lora_rank": 1, "logging_steps": 1, "seed": 5}
ONLINE = {"num_generations": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
SAVED = {
    "rewards/small.toml": 'title = "Small"\nweights = { flow_smoothness = 1.0, loop_break = 0.5 }\n',
    "prompts/few.txt": f"# Four prompts.\n{PROMPT}\n{OTHER}\na green star moving up on grey\na red square at night\n",
    "train/few_nft.toml": """title = "NFT on few prompts"
algorithm = "nft"
model = "mini"
mix = "small"
prompts = "few"
test_prompts = "few"
[alarms]
every = 2
prompts = 2
drift = 1e-9
[settings]
""",
    "curricula/short.toml": """title = "One short stage"
[[stages]]
name = "17 frames"
recipe = "few_nft"
frames = 17
steps = 2
changes = { alarms = { every = 0 } }
[stages.gate]
num_prompts = 4
takes = 1
conditions = [{ metric = "mix", of = "change", at_least = -1.0 }]
""",
}
# Made again when they are missed, or of a process that is gone.
LEFT_OUT = {"cache", "tmp", "backups", "trackio", "prompts", "worker"}


def dailies(root: Path, *words: str) -> Any:
    """What a command of `dailies` answers as JSON."""
    command = [sys.executable, str(HERE / "access.py"), *words, "--json", "--workspace", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return last_json(done.stdout)


def fill(root: Path, scratch: Path) -> None:
    save_presets(root)
    first = [one["id"] for one in dailies(root, "generate", PROMPT, *SMALL, "--seed", "1", "--takes", "3")["clips"]]
    second = [one["id"] for one in dailies(root, "generate", OTHER, *SMALL, "--seed", "9", "--takes", "2")["clips"]]
    keyframes = ("--mode", "keyframes", "--interval", "16", "--keyframe-source", "independent")
    dailies(root, "generate", PROMPT, *SMALL, *keyframes, "--seed", "2")
    windows = ("--mode", "windows", "--window", "17", "--overlap", "9", "--frames", "25")
    dailies(root, "generate", PROMPT, *SMALL, *windows, "--seed", "3")
    dailies(root, "score", str(draw_video(scratch / "square.mp4")), "--prompt", "a square", "--mix", "small")
    asked = ("--people", "2", "--axis", "motion")
    campaign = dailies(root, "campaigns", "create", "Which is better", *asked, "--clips", *first, *second)
    use_page(root, campaign["id"], scratch / "square.mp4")
    settings = [f"settings.{name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    keys = ["pairs=null", f"campaign={campaign['id']}", "watch=null", "mix=small", "alarms.every=0"]
    keys += [*settings, "settings.max_steps=2", "settings.save_steps=1", "settings.per_device_train_batch_size=1"]
    keys += ["settings.sample_clips=0", "settings.save_total_limit=1", "settings.warmup_steps=0"]
    finished = dailies(root, "train", "mini_dpo", *(word for key in keys for word in ("--set", key)))
    evaluation = ("--prompts", "few", "--num-prompts", "4", "--takes", "1", "--mix", "small")
    dailies(root, "evaluate", finished["run"], *evaluation)
    dailies(root, "curriculum", "short")
    interrupt(root)
    dailies(root, "jobs", "pause")
    dailies(root, "generate", OTHER, *SMALL, "--seed", "77", "--adapter", finished["adapter"], "--queue")
    dailies(root, "worker", "stop")


def save_presets(root: Path) -> None:
    for name, text in SAVED.items():
        file = root / "saved" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        settings = {**SETTINGS, **ONLINE, "max_steps": 10, "save_steps": 2, "sample_clips": 1, "levels_per_clip": 1}
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
        file.write_text(text + ("".join(lines) if name.startswith("train/") else ""), encoding="utf-8")


def draw_video(path: Path) -> Path:
    """A small clip to import: a square that moves."""
    import access
    import imageio.v3
    from measure_numbers import drawn

    lossless = path.with_suffix(".mkv")
    access.write_lossless(lossless, drawn(1, flickers=False), 8.0)
    imageio.v3.imwrite(path, drawn(1, flickers=False), fps=8, codec="libx264", plugin="FFMPEG")
    return path


def use_page(root: Path, campaign: str, video: Path) -> None:
    """Two people vote, one of them changes a vote and takes one back; a video is sent and not used."""
    import asyncio

    import access
    from fastapi.testclient import TestClient

    os.environ["GRADIO_TEMP_DIR"] = str(root / "uploads")
    desk = access.AppContext.open(root)

    async def build() -> Any:
        return access.build_server(desk)

    with TestClient(asyncio.run(build()), base_url="http://127.0.0.1") as client:
        vote_all(client, {"campaign": campaign, "labeller": "anna"}, ["left", "tie", "left", "both_bad", "right"])
        vote_all(client, {"campaign": campaign, "labeller": "ben"}, ["right", "skip", "left", "left"])
        with video.open("rb") as file:
            client.post("/gradio_api/upload", files={"files": (video.name, file)}).raise_for_status()
    desk.store.close()


def vote_all(client: Any, who: dict[str, str], choices: list[str]) -> None:
    """A vote on one pair after another; the first one is changed in the end, and the last one taken back."""
    votes: list[dict[str, Any]] = []
    for choice in choices:
        pairs = client.post("/voting/next", json=who).raise_for_status().json()["pairs"]
        if not pairs:
            break
        vote = {"showing": pairs[0]["showing"], "choice": choice, "client_uuid": str(uuid.uuid4()), "ms": 1500}
        vote |= {"note": f"{who['labeller']}: {choice}", "axes": {"motion": choice} if choice != "skip" else {}}
        client.post("/voting/vote", json={**who, "vote": vote}).raise_for_status()
        votes.append(vote)
    changed = {**votes[0], "choice": "left", "client_uuid": str(uuid.uuid4())}
    client.post("/voting/edit", json={**who, "vote": changed}).raise_for_status()
    client.post("/voting/undo", json={**who, "vote": votes[-1]["client_uuid"]}).raise_for_status()


def interrupt(root: Path) -> None:
    """A run that is stopped by Ctrl-C in the middle, with two checkpoints or more."""
    command = [sys.executable, str(HERE / "access.py"), "train", "few_nft", "--workspace", str(root)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((root / "runs").glob("few_nft-*/checkpoints/checkpoint-4/trainer_state.json")):
        found = process.poll()
        assert found is None, f"the run ended with code {found} before it could be interrupted"
        assert time.monotonic() < deadline, "the run made no checkpoint within 5 minutes"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) != 0, "the run was finished before it could be interrupted"


def trim(root: Path) -> None:
    """Remove the checkpoints of finished runs, most of the size."""
    for adapter in (root / "runs").glob("*/adapter"):
        shutil.rmtree(adapter.parent / "checkpoints")


def pack(root: Path, file: Path) -> None:
    """Everything but locks and what is made again, each file named from the workspace."""
    with tarfile.open(file, "w:xz", preset=9) as archive:
        for path in sorted(one for one in root.rglob("*") if one.is_file()):
            place = path.relative_to(root)
            passing = (
                path.suffix in (".lock", ".log")
                or path.name == "lock"
                or place.parts[0] in LEFT_OUT
                or "attempts" in place.parts
            )
            if not passing or place.as_posix() == "worker/paused":
                archive.add(path, place.as_posix(), filter=without_owner)


def without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main() -> None:
    os.environ.pop("DAILIES_WEIGHTS", None)  # a queued job keeps the path
    with tempfile.TemporaryDirectory() as name:
        root, scratch = Path(name) / "workspace", Path(name) / "scratch"
        scratch.mkdir()
        fill(root, scratch)
        trim(root)
        found = contents(root)
        pack(root, HERE / "workspace.tar.xz")
    write("workspace", found)


if __name__ == "__main__":
    main()
