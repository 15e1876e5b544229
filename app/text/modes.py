"""The words of the modes of generation: how a clip is made, and the strip of keyframes."""

MODE = "Made"
MODES = [("In one piece", "direct"), ("From keyframes", "keyframes"), ("In windows", "windows")]
KEYFRAMES_HINT = (
    "A few frames first, under high guidance, then what lies between them. Look at the keyframes before the rest is "
    "made, and replace those that you do not like."
)
WINDOWS_HINT = (
    "For clips longer than the model was made for: window after window, each beginning with the last one's end."
)
INTERVAL = "Interval, frames"
SOURCE = "Keyframes"
SOURCES = [("drawn together", "joint"), ("one by one", "independent")]
DRAFTS = "Drafts"
DRAFTS_INFO = "the best by the mix is taken"
KEYFRAME_GUIDANCE = "Keyframes' guidance"
MODELS_OWN = "the model's"
INBETWEEN_GUIDANCE = "In-betweens' guidance"
FLOW_GUIDANCE = "Flow guidance"
WINDOW = "Window, frames"
OVERLAP = "Overlap, frames"
KEYFRAMES_FIRST = "Keyframes first"

STRIP_WORDS = {
    "title": "Keyframes",
    "hint": "Redraw or replace any of them, then make the frames in between.",
    "again": "Redraw",
    "upload": "Replace",
    "fill": "Make the in-betweens",
    "drop": "Discard",
    "frame": "frame",
    "sending": "Sending the picture...",
    "not_sent": "The picture did not get there: it is too large, or the page's server does not answer. Send it again.",
    "drawing": "Drawing it again...",
}


def keyframes_of(prompt: str) -> str:
    """What a job that draws keyframes is called."""
    return f"Keyframes: {prompt}"
