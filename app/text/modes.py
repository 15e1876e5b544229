"""Texts of the generation modes and of the keyframe editor."""

MODE = "Mode"
MODES = [("Single pass", "direct"), ("Keyframes", "keyframes"), ("Sliding window", "windows")]
KEYFRAMES_HINT = (
    "Generates a few frames with high guidance first, then the frames between them. You can preview and replace the "
    "keyframes before the rest is generated."
)
WINDOWS_HINT = (
    "For clips longer than the model supports: one window after another, each continuing from the end of the last."
)
INTERVAL = "Interval (frames)"
SOURCE = "Keyframes"
SOURCES = [("Joint", "joint"), ("Independent", "independent")]
DRAFTS = "Candidates"
DRAFTS_INFO = "best of N by the mix"
KEYFRAME_GUIDANCE = "Keyframe guidance"
MODELS_OWN = "0: model default"
INBETWEEN_GUIDANCE = "In-between guidance"
FLOW_GUIDANCE = "Flow guidance"
WINDOW = "Window (frames)"
OVERLAP = "Overlap (frames)"
KEYFRAMES_FIRST = "Preview keyframes"

STRIP_WORDS = {
    "title": "Keyframes",
    "hint": "Regenerate or replace keyframes, then generate the frames between them.",
    "again": "Regenerate",
    "upload": "Replace",
    "fill": "Generate in-betweens",
    "drop": "Discard",
    "frame": "frame",
    "sending": "Uploading the picture...",
    "not_sent": "The upload failed: the picture is too large, or the server is not responding. Try again.",
    "drawing": "Regenerating...",
}


def keyframes_of(prompt: str) -> str:
    """Title of a job that generates keyframes."""
    return f"Keyframes: {prompt}"
