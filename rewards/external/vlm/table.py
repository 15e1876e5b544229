"""`VlmJudge`: the table of a declaration whose reward is asked from a vision language model (VLM)."""

import hashlib
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rewards.external.server_table import ServerTable

PROMPT = "{prompt}"
"""Place of the clip's prompt in `ask`."""

MAX_TOKENS = {"yes_no": 1, "rubric": 512, "pairwise": 16}


class VlmJudge(ServerTable):
    """A VLM behind an OpenAI-compatible server, asked about frames of a clip.

    Such servers are vLLM, SGLang, llama.cpp and others.
    """

    model: str = Field(min_length=1)
    """Name of the model as the server lists it."""
    mode: Literal["yes_no", "rubric", "pairwise"]
    """yes_no: share of yes in the first token. rubric: numbers in JSON. pairwise: win rate among clips of a prompt."""
    ask: str = Field(min_length=1)
    """Question or rubric; {prompt} is replaced by the clip's prompt."""
    system: str = ""
    """System message; "" for none."""
    yes: tuple[str, ...] = ("yes",)
    """Words that count as yes, in any case and with any space around them."""
    no: tuple[str, ...] = ("no",)
    """Words that count as no."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Of a rubric that is answered in lines "label: number": the label of each score. Without them it is JSON."""
    max_tokens: int | None = Field(None, ge=1)
    """Limit of the answer; None: 1 for yes_no, 512 for rubric, 16 for pairwise."""
    body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request, such as { chat_template_kwargs = { enable_thinking = false } }."""
    omit: tuple[Literal["max_tokens", "temperature", "seed"], ...] = ()
    """Fields that the server refuses; put max_completion_tokens into `body` instead of max_tokens."""
    frames: int | None = Field(8, ge=1)
    """Evenly spaced frames of each clip that are sent; a pair has twice as many."""
    picture: Literal["png", "jpeg"] = "jpeg"
    """Encoding of a frame."""

    @property
    def asked(self) -> str:
        """8 hex digits that change with what the judge is shown and asked, but not with how it is called."""
        fields = {"model", "mode", "ask", "system", "frames", "picture", *({"body", "omit"} & self.model_fields_set)}
        asked = self.model_dump_json(include=fields)
        return hashlib.sha256(asked.encode()).hexdigest()[:8]

    @property
    def token_limit(self) -> int:
        return self.max_tokens or MAX_TOKENS[self.mode]

    @model_validator(mode="after")
    def _words_differ(self) -> Self:
        both = {word.strip().casefold() for word in self.yes} & {word.strip().casefold() for word in self.no}
        if both or not (self.yes and self.no):
            raise ValueError("yes and no need at least one word each, and no word may be in both")
        return self
