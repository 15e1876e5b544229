"""Declaration of an external reward: the schema of `external_rewards/<key>.toml`."""

import hashlib
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from rewards.errors import RewardError, first_problem
from rewards.external.server_table import ServerTable
from rewards.external.vlm.table import VlmJudge
from rewards.models import FiniteModel
from rewards.text_files import parse_toml, read_text

KEY = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
KINDS = ("python", "http", "vlm", "head")
"""The tables of a declaration that name what computes the reward."""


_CALLED = ("token_env", "timeout_s", "attempts", "backoff_s", "concurrency", "batch")
_SHOWN = ("title", "question", "unit", "licence", "source", "required")
# Of no effect on scores.
_WITHOUT_EFFECT: Any = {
    **dict.fromkeys(_SHOWN, True),
    **{kind: set(_CALLED) for kind in KINDS},
    "scores": {"__all__": {"title", "question"}},
}


class Anchors(FiniteModel):
    """Raw scores of a bad and of a good clip.

    They get the values 0 and 1; between them the map is linear.
    """

    bad: float
    """Raw score that gets 0."""
    good: float
    """Raw score that gets 1."""

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.bad == self.good:
            raise ValueError(f"bad and good are both {self.bad}: give two different raw scores")
        return self

    def value(self, raw: float) -> float:
        """Return the value in 0..1 of a raw score."""
        return min(1.0, max(0.0, (raw - self.bad) / (self.good - self.bad)))


class SubScore(FiniteModel):
    """One of several scores of an answer; it becomes a reward named "key.name"."""

    title: str = ""
    """Title on the page; "": made from the name."""
    question: str = ""
    """Question that the score answers; "": that of the reward."""
    calibration: Anchors | None = None
    """None: the raw score is a value in 0..1 already."""


class PythonFunction(FiniteModel):
    """A Python function in TRL's protocol, called in a process of its own.

    It is called as `f(prompts, completions, fps=...)` with frames `uint8[T,H,W,3]` and returns one number or None for
    each clip, or a dict of such lists by sub-score.
    """

    function: str = Field(pattern=r"^[^:]+:[A-Za-z_]\w*$")
    """As "package.module:function", or "file.py:function" with a path relative to the declaration."""
    timeout_s: float = Field(120.0, gt=0)
    """Limit for one call, with up to 8 clips; the process is killed after it."""


class HttpServer(ServerTable):
    """A reward server that takes and answers JSON at `url`, see docs/rewards.md for the protocol."""

    batch: int = Field(1, ge=1, le=64)
    """Clips per call."""


class TrainedHead(FiniteModel):
    """A reward head that was trained on votes, see `rewards.heads`."""

    file: str
    """Path of the safetensors file, relative to the declaration."""


class ExternalReward(FiniteModel):
    """A declared reward. Exactly one of the tables of `KINDS` is given."""

    key: str = Field(pattern=KEY)
    """The file's name without `.toml`; the reward's name in mixes."""
    title: str = Field(min_length=1)
    """Title on the page."""
    question: str = ""
    """Question that the reward answers, for the page."""
    unit: str = "score"
    """Unit of the raw score."""
    licence: str = "not given"
    """Licence of the model behind it."""
    source: str = ""
    """Paper or address of the model."""
    of_prompt: bool = False
    """True if the reward compares the clip with its prompt."""
    version: str = ""
    """Version of the model behind it: change it when the model changes, then clips are scored again."""
    required: bool = False
    """A failure stops the work; otherwise the reward is missing for the clip, with the reason, and never 0."""
    calibration: Anchors | None = None
    """Map of the raw score to 0..1; None: the raw score is a value in 0..1 already."""
    scores: dict[str, SubScore] = Field({})
    """Sub-scores by name; without them the answer is one score."""
    python: PythonFunction | None = None
    """Scored by a Python function."""
    http: HttpServer | None = None
    """Scored by a server."""
    vlm: VlmJudge | None = None
    """Scored by a vision language model."""
    head: TrainedHead | None = None
    """Scored by a head that was trained on votes."""

    @model_validator(mode="after")
    def _has_one_kind(self) -> Self:
        kinds = [name for name in KINDS if getattr(self, name) is not None]
        if len(kinds) != 1:
            given = f"{' and '.join(kinds)} are given" if kinds else "none is given"
            raise ValueError(f"a declaration has exactly one of the tables {', '.join(KINDS)}, but {given}")
        if self.scores and self.calibration:
            raise ValueError("the calibration of sub-scores belongs into [scores.NAME.calibration]")
        if self.scores and self.head:
            raise ValueError("a head has one score: leave [scores] out")
        if self.vlm and self.vlm.labels and (self.vlm.mode != "rubric" or set(self.vlm.labels) != set(self.scores)):
            raise ValueError("labels belong to a rubric and name exactly the scores of [scores]")
        if self.scores and self.vlm and self.vlm.mode != "rubric":
            raise ValueError(f"a judge of mode {self.vlm.mode} has one score: leave [scores] out")
        if self.calibration and self.vlm and self.vlm.mode != "rubric":
            raise ValueError(f"the score of mode {self.vlm.mode} is in 0..1 already: leave [calibration] out")
        for name in self.scores:
            if not name.replace("_", "").replace("-", "").isalnum():
                raise ValueError(f"the sub-score {name!r} may have letters, digits, _ and - only")
        return self

    @property
    def reward_keys(self) -> tuple[str, ...]:
        """The names of its rewards in mixes."""
        return tuple(f"{self.key}.{name}" for name in self.scores) or (self.key,)


def read_declaration(path: Path) -> ExternalReward:
    """Read a declaration. Raises RewardError, in one sentence, for a file that is unreadable or wrong."""
    try:
        entries = parse_toml(read_text(path))
    except (OSError, ValueError) as error:
        raise RewardError(f"The external reward {path} cannot be read: {error}.") from error
    if "key" in entries:
        raise RewardError(f"The external reward {path.name} sets key: its key is the file's name, so leave it out.")
    try:
        return ExternalReward.model_validate({"key": path.stem, **entries})
    except ValidationError as error:
        raise RewardError(f"The external reward {path.name} is wrong at {first_problem(error)}.") from error


def fingerprint(path: Path, declaration: ExternalReward) -> str:
    """Return 8 hex digits that change with what affects a declaration's scores.

    Titles and limits of calls have no effect on scores.
    """
    digest = hashlib.sha256(declaration.model_dump_json(exclude=_WITHOUT_EFFECT).encode())
    digest.update(code_of(path, declaration))
    return digest.hexdigest()[:8]


def code_of(path: Path, declaration: ExternalReward) -> bytes:
    """Return the content of the Python file or head that a declaration names; b"" for none."""
    named = declaration.head.file if declaration.head else None
    if declaration.python and declaration.python.function.split(":")[0].endswith(".py"):
        named = declaration.python.function.split(":")[0]
    return (path.parent / named).read_bytes() if named is not None and (path.parent / named).is_file() else b""
