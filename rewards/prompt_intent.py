"""Requests in a prompt for the clip as a whole: a still picture, a loop, or a centred composition.

Single words are not enough: "static shot" and "stationary" describe the camera or an object, "still life" a subject,
"looping rollercoaster" a ride. A request counts only where the grammar refers it to the clip: as the head of the prompt
("a still image of ...", "a looping video of ...", "a portrait of ..."), or, for loops and the composition, as a part of
its own between commas ("..., seamless loop", "..., centred composition"). "Painting a portrait" and "portrait
orientation" are no requests for a centred composition. The embedded world has its own phrases: there "standing still"
is the whole action of a lone subject.
"""

import re
from dataclasses import dataclass

_PARTS = re.compile(r"[,;.!\n]+")
_DEGREE = r"(?:(?:completely|perfectly|entirely|totally) )?"
_PICTURE = r"(?:image|picture|photo|photograph|frame)"
_MEDIUM = r"(?:video|clip|animation|gif|footage|background)"
_LOOP = r"(?:(?:seamless|perfect|endless|infinite)(?:ly)?[ -])?loop(?:ed|ing)?"
_HEAD_END = r"(?=(?: of| showing| with|$))"
STILL = re.compile(
    rf"(?:an? |the )?(?:{_DEGREE}(?:still|static|frozen|motionless) {_PICTURE}|freeze[- ]frame){_HEAD_END}"
)
LOOP_HEAD = re.compile(rf"(?:an? |the )?(?:{_LOOP} {_MEDIUM}|cinemagraph){_HEAD_END}")
LOOP_PART = re.compile(rf"(?:an? |as an? |in an? )?(?:{_LOOP}(?: {_MEDIUM})?|cinemagraph)")
STILL_IN = {"mini": re.compile(r"\bstanding still\b(?!.*\b(?:then|enters|camera)\b)")}
"""Phrases of a domain whose prompts have a grammar of their own."""
_CLOSE = r"(?:(?:extreme|medium|tight) )?close-?[ ]?up(?: (?:shot|view|portrait))?"
_FIGURE = rf"(?:(?:[\w-]+ ){{0,2}}(?:portrait|head ?shot)(?: (?:shot|photo|photograph))?|{_CLOSE}|talking head)"
_COMPOSITION = r"(?:subject|composition|framing|shot|frame)"
_CENTRED = r"cent(?:ered|red)"
CENTRE_HEAD = re.compile(
    rf"(?:an? |the )?(?:{_FIGURE}|(?:{_CENTRED}|symmetric(?:al)?) {_COMPOSITION})(?=(?: of\b| with\b| showing\b|$))"
)
CENTRE_PART = re.compile(
    rf"(?:an? |in an? )?(?:{_FIGURE}|(?:{_CENTRED}|symmetric(?:al)?)(?: {_COMPOSITION})?"
    rf"|{_COMPOSITION} (?:is )?{_CENTRED}|{_CENTRED} (?:in|within) the (?:frame|picture|middle))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptIntent:
    """The requests of a prompt: a `still` picture, a `loop`."""

    still: bool
    loop: bool


def read_intent(prompt: str, calibration: str = "real") -> PromptIntent:
    """Return the requests of a prompt; the set of `calibration` (a name) is the domain."""
    text = prompt.lower()
    parts = [" ".join(part.split()) for part in _PARTS.split(text)]
    head = next((part for part in parts if part), "")
    still = STILL.match(head) is not None
    phrase = STILL_IN.get(calibration.split("-")[0])
    if phrase is not None:
        still = still or phrase.search(text) is not None
    loop = LOOP_HEAD.match(head) is not None or any(LOOP_PART.fullmatch(part) for part in parts)
    return PromptIntent(still=still, loop=loop)


def wants_centre(prompt: str) -> bool:
    """Return True when the prompt asks for a portrait, a close-up, or a centred or symmetric composition."""
    parts = [" ".join(part.split()) for part in _PARTS.split(prompt.lower())]
    head = next((part for part in parts if part), "")
    return CENTRE_HEAD.match(head) is not None or any(CENTRE_PART.fullmatch(part) for part in parts)
