"""Objects in a workspace to act on, and event data as the page's script sends it."""

import csv
import subprocess
import uuid
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image

from app.context import AppContext
from app.forms.generation_form import FIELDS
from app.forms.mode_fields import MODE_FIELDS, shown_mode
from app.views import campaigns as campaign_view
from app.views import clip_sets, keyframes
from app.views.campaign_list import pair_table
from app.views.training import train_form
from engine.config.presets import load_curriculum, load_train_preset, preset_keys
from engine.families.lora_files import WEIGHTS_FILE
from engine.jobs.spec import Job, JobSpec
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest, GivenKeyframe, KeyframePlan
from engine.runs.checkpoint_series import CHECKPOINT
from engine.runs.curriculum_state import Curriculum
from engine.runs.run import Run
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord
from engine.video.writer import write_lossless, write_mp4
from rewards import Clip


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


class Scene:
    """Things to do something with, fresh for each test."""

    def __init__(self, context: AppContext, folder: Path) -> None:
        self.context, self.folder, self.store = context, folder, context.store
        self.worker: subprocess.Popen[bytes] | None = None

    def clip(self, number: int = 0) -> ClipRecord:
        seed = int(uuid.uuid4()) % 10**6
        request = GenerationRequest(prompt="a red circle", seed=seed, num_frames=9)
        frames = np.random.default_rng(seed).integers(0, 256, (9, 64, 64, 3), np.uint8)
        save_clip(self.context.workspace, request.id, Clip(frames=frames, fps=8.0, prompt=request.prompt), request)
        return self.store.add_clip(ClipRecord.generated(request))

    def campaign(self) -> Any:
        ids = tuple(self.clip().id for _ in range(3))
        return Campaigns(self.store).create(CampaignSpec(title="t", clip_ids=ids, repeat_share=0))

    def lacking(self) -> Any:
        """A campaign whose clips are still to be made."""
        fields = {"title": "t", "prompts": (str(uuid.uuid4()),), "entrants": ({"model": "mini"},), "takes": 2}
        return Campaigns(self.store).create(CampaignSpec.model_validate(fields))

    def waiting(self) -> Job:
        return self.context.queue.submit(JobSpec.generate([GenerationRequest(prompt=str(uuid.uuid4()))]))

    def running(self) -> Job:
        job = self.context.queue.claim(ProcessIdentity.current())
        assert job is not None
        return job

    def running_elsewhere(self) -> Job:
        """A job whose worker is another process, which may be killed."""
        self.context.queue.cancel_waiting()
        self.waiting()
        self.worker = subprocess.Popen(["sleep", "600"])
        identity = ProcessIdentity.of(self.worker.pid)
        job = self.context.queue.claim(identity) if identity else None
        assert job is not None
        return job

    def settle(self) -> None:
        """Wait for the worker that was killed, and see its job's end, as the page's caretaker does."""
        if self.worker is not None:
            self.worker.wait(60)
            self.context.queue.reconcile()

    def failed(self) -> Job:
        self.context.queue.cancel_waiting()
        self.waiting()
        job = self.running()
        self.context.queue.finish(job.id, "failed", error="no")
        return job

    def run(self, *, began: bool = True) -> Run:
        run = Run.create(self.context.workspace, load_train_preset("mini_grpo"))
        if began:
            run.append_metrics(3, {"of": 40})
            checkpoint = run.checkpoints / f"{CHECKPOINT}3"
            checkpoint.mkdir(parents=True)
            (checkpoint / "trainer_state.json").write_text("{}")
            (checkpoint / WEIGHTS_FILE).write_bytes(b"weights")
        return run

    def strip(self) -> dict[str, Any]:
        plan = KeyframePlan(given=tuple(GivenKeyframe(frame=f, picture=f"{f:064x}") for f in range(0, 33, 8)))
        request = GenerationRequest(prompt=str(uuid.uuid4()), mode="keyframes", keyframes=plan)
        found = keyframes.from_request(request, "mini")
        assert found is not None
        return found

    def video(self, name: str = "sent.mp4") -> str:
        path = self.folder / name
        write_mp4(path, np.random.default_rng(3).integers(0, 256, (9, 64, 64, 3), np.uint8), 8.0)
        return str(path)

    def typed(self, **changes: Any) -> list[Any]:
        form: dict[str, Any] = dict.fromkeys(FIELDS, "")
        form |= {"prompt": str(uuid.uuid4()), "model": "mini", "num_frames": 33, "num_steps": 20, "guidance": 3.0}
        form |= dict(zip(MODE_FIELDS, shown_mode(GenerationRequest(prompt="any")), strict=True))
        form |= {"width": 64, "height": 64, "fps": 8.0, "seed": "5", "keep_seed": False, "takes": 2, "mix": "mini"}
        return list({**form, **changes}.values())

    def campaign_form(self) -> list[Any]:
        fields: dict[str, Any] = {"title": "t", "what": campaign_view.MADE, "prompts": str(uuid.uuid4())}
        fields |= {
            "entrants": ["mini"],
            "takes": 2,
            "num_frames": 0,
            "which": clip_sets.NEWEST,
            "per_pair": 1,
            "target": 0,
        }
        fields |= {"strategy": "random", "axes": []}
        return [*(fields[name] for name in campaign_view.FIELDS), "mini"]

    def table(self, campaign: Any) -> str:
        pair = Campaigns(self.store).pairs(campaign.id)[0]
        row = {"left_clip": pair.clip_a, "right_clip": pair.clip_b, "labeller": "ann", "choice": "left"}
        with (self.folder / "votes.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow(row)
        return str(self.folder / "votes.csv")

    def archive(self) -> str:
        for number, name in enumerate("ab"):
            frames = np.random.default_rng(number).integers(0, 256, (5, 32, 32, 3), np.uint8)
            write_lossless(self.folder / f"{name}.mkv", frames, 8.0)
        (self.folder / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "a.mkv", "rejected": "b.mkv"}\n')
        with zipfile.ZipFile(self.folder / "in.zip", "w") as into:
            for name in ("a.mkv", "b.mkv", "pairs.jsonl"):
                into.write(self.folder / name, name)
        return str(self.folder / "in.zip")

    def picture(self) -> str:
        path = Path(get_upload_folder()) / f"{uuid.uuid4()}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "red").save(path)
        return str(path)

    def judge(self) -> str:
        """The key of a pairwise judge, which nobody asks."""
        folder = self.context.workspace.saved / "external_rewards"
        folder.mkdir(parents=True, exist_ok=True)
        asks = '[vlm]\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\nmode = "pairwise"\nask = "Which is redder?"\n'
        (folder / "red.toml").write_text(f'title = "Red"\n{asks}')
        return "red"

    def pair(self) -> dict[str, Any]:
        """The table of a campaign's pairs."""
        campaign = self.campaign()
        return {**pair_table(self.context, campaign.id), "campaign": campaign.id}

    def choices(self, **more: Any) -> dict[str, Any]:
        return {**train_form.open_form(self.context, "mini_grpo")["choices"], "settings": {}, **more}

    def curriculum(self) -> Curriculum:
        return Curriculum.create(self.context.workspace, load_curriculum(preset_keys("curricula")[0]))
