"""The samples of a run: clips of the same prompts and seeds at every checkpoint. Imports no torch.

runs/<id>/samples/
    requests.json         the requests of every set, the same for the base model
    request               exists while a set is requested
    base/ 00000010/ ...   a set: 0.mp4 1.mp4 ... and set.json, the base model or the weights after that step
"""

import json
import logging
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from engine.errors import StoreError
from engine.files.atomic import write_text_atomic
from engine.files.path_property import PathProperty
from engine.request import GenerationRequest
from engine.runs.run import Run
from engine.storage.temp_folders import replaced_folder
from engine.video import writer
from engine.workspace import is_name
from rewards.clip import Clip
from rewards.models import FrozenModel

BASE = "base"
log = logging.getLogger(__name__)
REQUESTS = TypeAdapter(tuple[GenerationRequest, ...])


class Sample(FrozenModel):
    """One clip of a set. `report` is a `RewardReport` as JSON; None for a run without rewards."""

    file: str
    prompt: str
    seed: int
    num_frames: int
    fps: float
    width: int
    height: int
    report: dict[str, Any] | None = None


class SampleSet(FrozenModel):
    """The clips of one checkpoint; `step` is None for the base model."""

    step: int | None
    samples: tuple[Sample, ...]

    @property
    def name(self) -> str:
        return set_name(self.step)


def set_name(step: int | None) -> str:
    """Return the name of a set's folder."""
    return BASE if step is None else f"{step:08d}"


@dataclass(frozen=True, slots=True)
class RunSamples:
    """The sample sets of one run."""

    run: Run

    folder = PathProperty(lambda self: self.run.folder / "samples")
    requests_file = PathProperty(lambda self: self.folder / "requests.json")
    request_flag = PathProperty(lambda self: self.folder / "request")

    def request(self) -> None:
        """Request a set from the training process after its current step."""
        self.folder.mkdir(exist_ok=True)
        self.request_flag.touch()

    def take_request(self) -> bool:
        """Return True if a set was requested, and clear the request."""
        try:
            self.request_flag.unlink()
        except FileNotFoundError:
            return False
        return True

    def requests(self) -> tuple[GenerationRequest, ...]:
        """Return the run's sample requests; none before it has begun or when sampling is off.

        Raises StoreError when the file is damaged.
        """
        try:
            return REQUESTS.validate_json(self.requests_file.read_bytes())
        except FileNotFoundError:
            return ()
        except ValueError as error:
            why = str(error).splitlines()[0]
            raise StoreError(f"The sample requests of run {self.run.id} are damaged: {why}") from error

    def set_requests_aside(self) -> None:
        """Rename a damaged file of requests, with a warning.

        The run's prompts and seed determine the same requests.
        """
        aside = self.requests_file.with_name(f"requests.torn-{secrets.token_hex(2)}.json")
        os.replace(self.requests_file, aside)
        log.warning("%s is damaged: it is kept as %s, and written again.", self.requests_file, aside.name)

    def keep_requests(self, requests: Sequence[GenerationRequest]) -> None:
        """Write the sample requests. Raises StoreError for requests that could not be read back."""
        text = REQUESTS.dump_json(tuple(requests), indent=2)
        try:
            REQUESTS.validate_json(text)
        except ValueError as error:
            raise StoreError(
                f"The samples of run {self.run.id} cannot be made: {str(error).splitlines()[2]}"
            ) from error
        self.folder.mkdir(exist_ok=True)
        write_text_atomic(self.requests_file, text.decode() + "\n")

    def has(self, step: int | None) -> bool:
        """Return True when the set of the step, or of the base model (None), is readable."""
        return _read(self.folder / set_name(step) / "set.json") is not None

    def save(self, step: int | None, clips: Sequence[Clip], seeds: Sequence[int], reports: Sequence[Any]) -> SampleSet:
        """Write a set atomically, replacing an existing one. Raises StoreError when the disk is full."""
        samples = tuple(
            Sample(
                file=f"{index}.mp4",
                prompt=clip.prompt,
                seed=seed,
                num_frames=clip.num_frames,
                fps=clip.fps,
                width=clip.width,
                height=clip.height,
                report=report,
            )
            for index, (clip, seed, report) in enumerate(zip(clips, seeds, reports, strict=True))
        )
        sample_set = SampleSet(step=step, samples=samples)
        try:
            with replaced_folder(self.folder / sample_set.name) as partial:
                for clip, sample in zip(clips, samples, strict=True):
                    writer.write_mp4(partial / sample.file, clip.frames, clip.fps)
                (partial / "set.json").write_text(sample_set.model_dump_json() + "\n", encoding="utf-8")
                self._set_aside(step)
        except OSError as error:
            raise StoreError(f"The samples of run {self.run.id} were not kept: {error.strerror or error}.") from error
        return sample_set

    def _set_aside(self, step: int | None) -> None:
        """Rename an existing unreadable set, with a warning."""
        folder = self.folder / set_name(step)
        if folder.is_dir() and not self.has(step):
            aside = folder.with_name(f"{folder.name}.torn-{secrets.token_hex(2)}")
            os.replace(folder, aside)
            log.warning("The samples in %s were damaged: they are kept as %s, and generated again.", folder, aside.name)

    def sets(self) -> list[SampleSet]:
        """Return all readable sets, the base first, then by step."""
        sets = [read for file in self.folder.glob("[!.]*/set.json") if (read := _read(file)) is not None]
        return sorted(sets, key=lambda sample_set: -1 if sample_set.step is None else sample_set.step)

    def names(self) -> list[str]:
        """Return the names of the complete sets, without reading them."""
        return sorted(file.parent.name for file in self.folder.glob("[!.]*/set.json") if not file.parent.suffix)

    def file(self, name: str, sample: str) -> Path | None:
        """Return a clip's file; None when it does not exist.

        Both names are checked, since they come from a URL.
        """
        if not (is_name(name) and is_name(sample)):
            return None
        folder = self.folder / name
        path = folder / sample
        inside = path.resolve().parent == folder.resolve() and folder.resolve().parent == self.folder.resolve()
        return path if inside and path.suffix == ".mp4" and path.is_file() else None


def _read(file: Path) -> SampleSet | None:
    if file.parent.suffix:
        return None
    try:
        return SampleSet.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
