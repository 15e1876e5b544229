"""Texts of the header, of the Generate, Score and Library tabs, and of clips, players and jobs.

Error sentences come with the exception (`engine.errors`), so that the command line shows the same ones.
"""

from collections.abc import Mapping, Sequence

TITLE = "Dailies"
TAGLINE = "RL fine-tuning workbench for text-to-video"
GENERATE, SCORE, LIBRARY = "Generate", "Score", "Library"
NOTE = "Note"
WORKSPACE = "Workspace"
LIGHT_OR_DARK = "Toggle light or dark theme"
SHARED_WORKSPACE = "Another server uses this workspace too: both pages show the same clips and jobs."
PAGE_GONE = "There is no clip at this address. It may have been deleted, or it belongs to another workspace."

# ---- Generate: the form
PROMPT = "Prompt"
PROMPT_HINT = "What the clip should show, e.g. a large red circle moving left over a meadow"
NEGATIVE_PROMPT = "Negative prompt"
PICTURES = {"image": "First picture", "last_image": "Last picture"}
CHOOSE_PICTURE = "Choose a picture"
REMOVE_PICTURE = "Remove"
GIVEN_PICTURE = "The given picture"
NEGATIVE_HINT = "What it should not show"
MODEL = "Model"
MODEL_GROUPS = ("Installed", "Cannot be used yet")
ADAPTER = "Adapter"
NO_ADAPTER = "None (base model)"
NO_ADAPTERS = "No adapter has been trained for this model yet."
ADAPTER_WORDS = {
    "adapters": "LoRA adapters",
    "adapter": ADAPTER,
    "strength": "Strength",
    "add": "+ Add adapter",
    "remove": "Remove adapter",
    "base": NO_ADAPTER,
    "none": NO_ADAPTERS,
    "gone": "There is no adapter '{name}' for this model: choose another one.",
    "twice": "The adapter '{name}' is listed twice: add the strengths in one row.",
    "range": "A strength is a number from -10 to 10, such as 0.8.",
    "trigger": "Prompts need “{text}” for the effect of {name}.",
    "insert": "Insert",
}
MIX = "Reward mix"
NO_MIX = "None (do not score)"
FRAMES = "Frames"
STEPS = "Denoising steps"
GUIDANCE = "Guidance"
WIDTH = "Width (px)"
HEIGHT = "Height (px)"
FPS = "FPS"
SEED = "Seed"
KEEP_SEED = "Lock"
DICE = "Random"
VARIATIONS = "Variations"
PREVIEW = "Preview while denoising"
MORE = "More settings"
RESET = "Reset to defaults"
SUBMIT = "Generate"
NO_MODELS = "No model is set up: add a preset to presets/models, or run `make mini`."

EXAMPLE_PROMPTS = (
    "a large red circle moving left over a meadow",
    "a yellow star bouncing at night, looping",
    "a blue square and a red ball rising at night",
    "a pink heart growing in front of a sunset",
)

# ---- Generate: the stage
STAGE_EMPTY_TITLE = "No clips yet"
STAGE_EMPTY_HINT = "Enter a prompt and press Generate. Earlier clips are in the Library."
WELCOME_WORDS = {
    "title": STAGE_EMPTY_TITLE,
    "hint": STAGE_EMPTY_HINT,
    "greeting": "This workspace is empty. Three ways to start:",
    "steps": {
        "first_clip": {
            "title": "Generate a first clip",
            "hint": "The built-in model generates and scores a clip within a minute, on any machine.",
            "button": "Generate an example",
        },
        "import_clips": {
            "title": "Import a clip",
            "hint": "Score a video of your own with the same rewards. It is kept in the Library.",
            "button": "Import a video",
        },
        "new_campaign": {
            "title": "Collect preferences",
            "hint": "In a campaign, people vote on which of two clips is better. DPO trains on these votes.",
            "button": "Create a campaign",
        },
    },
}

# ---- Library
SEARCH = "Search prompts"
SEARCH_HINT = "All words must match"
ANY_MODEL, ANY_ADAPTER, ANY_SOURCE = "Any model", "Any adapter", "Any source"
SOURCES = {"generated": "Generated", "imported": "Imported"}
SOURCE = "Source"
STARRED = "Starred only"
SCORE_FROM, SCORE_TO = "Score from", "Score to"
DATE = "Created"
ORDER = "Sort by"
ORDERS = {"newest": "Newest first", "oldest": "Oldest first", "best": "Best score first", "worst": "Worst score first"}
DATES = {"any": "Any time", "hour": "Last hour", "day": "Last 24 hours", "week": "Last 7 days"}
DATES |= {"month": "Last 30 days", "before": "Older than 30 days"}
IMPORT = "Import a video"
IMPORT_TITLE = "Import a video to score it"
IMPORT_PROMPT = "Prompt (optional)"
IMPORT_FILE = "mp4, gif, webm, avi, mkv or mov"
IMPORT_SUBMIT = "Import and score"
CLOSE = "Close"
NOTHING_TO_IMPORT = "No video selected: drop a file onto the field, or click it to choose one."
NO_MIXES = "There is no reward mix to score the video with: add a preset to presets/rewards."
LIBRARY_EMPTY = ("The library is empty", "Clips that you generate or import appear here.")
NOTHING_FOUND = ("No results", "Change or clear the filters.")
CLEAR_FILTERS = "Clear filters"
COMPARE_TITLE = "Side by side"

# ---- Score
WHICH = "Clips"
WHICH_NEWEST, WHICH_STARRED = "Latest clips", "Starred"
SCORE_THESE = "Score unscored clips"
ALL_SCORED = "This mix has already scored all of these clips."
DROP = "Import videos"
DROP_TITLE = "Import and score videos"
DROP_FILES = "Drop one or more videos"
DROP_FOLDER = "or a folder on the server (allowed with --folder)"
DROP_FOLDER_HINT = "/data/clips"
DROP_PROMPT = "Prompt (optional; clip.txt next to clip.mp4 takes precedence)"
DROP_SUBMIT = "Import and score"
NOTHING_TO_SCORE = "No video selected: drop files onto the field, or enter a folder."
WEIGHTS = "Weights"
WEIGHTS_HINT = "Changing a weight ranks the clips again. The stored scores keep the weights of the mix."
TABLE_EMPTY = ("No clips to rank", "Generate some, or import a video or a folder.")
TOTAL = "Total"
OVERLAY = "Overlay"
NO_OVERLAY = "None"
DRAW_OVERLAYS = "Draw overlays"
OVERLAYS_JOB = "Reward overlays"
NO_OVERLAYS = "The rewards of this mix have no overlays for this clip."
CORRELATIONS = "Reward correlation"
CORRELATIONS_HINT = "Spearman rank correlation over these clips: 1 is the same order, 0 none, -1 the opposite."
DROPPED = "Uploads"
LABEL_THESE = "Label these"
LABEL_THESE_HINT = "Create a campaign from these clips. Clips with the same prompt are compared."
DISAGREEMENT = "Reward disagreement"
TABLE_WORDS = {
    "clips": "Clips by score",
    "rank": "Rank",
    "clip": "Clip",
    "total": "Total",
    "csv": "Export CSV",
    "group": "Group by prompt",
    "group_hint": "Clips of the same prompt together, the prompt of the best clip first",
    "compare": "Compare",
    "compare_hint": "Two to four clips, side by side",
    "label": LABEL_THESE,
    "label_hint": LABEL_THESE_HINT,
    "clear": "Clear",
    "chosen": "{count} selected",
    "count": "{count} clips",
    "count_one": "1 clip",
    "select": "Select",
    "sort": "Sort by {name}",
    "none": "-",
    "unscored": "Not scored",
    "show": "Show",
    "failed": "Not scored",
}
SLIDER_WORDS = {"reset": "Reset weights", "weights": WEIGHTS}
DISAGREEMENT_WORDS = {"disagreement": DISAGREEMENT, "none": "No reward prefers another clip than the total."}

# ---- Facts of a clip
NOT_SCORED = "not scored"
IMPORTED = "imported"
NONE = "none"
FACTS = {
    "prompt": "Prompt",
    "model": "Model",
    "file": "File",
    "adapter": "Adapter",
    "seed": "Seed",
    "size": "Size",
    "length": "Length",
    "num_steps": "Steps",
    "guidance": "Guidance",
    "negative_prompt": "Negative prompt",
    "mode": "Mode",
    "mix": "Reward mix",
    "created": "Created",
    "id": "Clip",
}
ACTIONS = {
    "again": "Generate with this seed",
    "new_seed": "Regenerate (new seed)",
    "use_settings": "Load settings",
    "compare_base": "Compare with base",
    "show_in_library": "Show in Library",
    "score_clip": "Score",
    "star_clip": "Star",
    "remove_clip": "Delete",
    "close_clip": "Close",
}
ACTIONS_ONCE_SCORED = {"score_clip": "Score again"}
ACTIONS_ONCE_STARRED = {"star_clip": "Remove star"}
ACTION_HINTS = {
    "again": "Generate with the form's current settings and this clip's seed",
    "new_seed": "Generate with this clip's settings and a new random seed",
    "use_settings": "Copy this clip's settings into the Generate form",
    "compare_base": "Generate this clip without its adapters, and show both side by side",
    "star_clip": "The Library can show starred clips only",
    "show_in_library": "Open this clip in the Library",
}
FACTS_WORDS = {
    "permalink": "Link to this clip",
    "copy": "Copy link",
    "mp4": "Download mp4",
    "frames": "Download lossless",
    "request": "Full request",
    "total": "Score",
    "neighbours": "Other clips",
    "previous": "Previous clip (K)",
    "next": "Next clip (J)",
}

UNREACHABLE = "The server is not responding. Retrying; repeat your last action when it is back."

# ---- Components
COPY_WORDS = {"done": "Copied", "failed": "Not copied: this browser forbids it"}
PLOT_WORDS = {"png": "Download this plot as PNG", "csv": "Download its numbers as CSV"}
PLAYER_WORDS = {
    "player": "Player",
    "scrub": "Frame",
    "speed": "Speed",
    "views": "Comparison",
    "keys": "Shortcuts",
    "remap": "Click a shortcut, then press its new key.",
    "lost": "The file of this clip is missing.",
    "away": "The server is not responding. Retrying; nothing is lost.",
    "frame": "{frame} / {frames}  ·  {seconds} s",
    "actions": {
        "play": "Play or pause",
        "back": "Previous frame",
        "forward": "Next frame",
        "replay": "Replay",
        "loop": "Loop",
        "slower": "Slower",
        "faster": "Faster",
        "zoom": "Zoom",
        "side": "Side by side",
        "flip": "Toggle A/B",
        "wipe": "Wipe",
        "difference": "Difference",
        "aim_left": "Move wipe or zoom left",
        "aim_right": "Move wipe or zoom right",
        "aim_up": "Move zoom up",
        "aim_down": "Move zoom down",
    },
}
GRID_WORDS = {
    "clips": "Clips",
    "select": "Select",
    "chosen": "{count} selected",
    "compare": "Compare",
    "compare_hint": "Two to four clips, side by side",
    "label": LABEL_THESE,
    "label_hint": LABEL_THESE_HINT,
    "remove": "Delete",
    "star": "Star",
    "unstar": "Remove star",
    "select_all": "Select all",
    "select_all_hint": "Selects all clips of this page (Ctrl + A); Shift + click selects a range",
    "clear": "Clear",
    "undo": "Undo",
    "ready": "Show",
    "previous": "Previous",
    "next": "Next",
    "range": "{first} to {last} of {total}",
    "unscored": "not scored",
}

# ---- Jobs
STOPPING = "Stopping after this step"


def count(number: int, noun: str) -> str:
    """ "1 clip", "12,000 clips", "2 numbers of steps"."""
    one, of, rest = noun.partition(" of ")
    return f"{number:,} {one}{'' if number == 1 else 's'}{of}{rest}"


def disagreement(title: str, prompt: str, share: float) -> str:
    """Compare a reward's ranking with the total's."""
    shown = prompt if len(prompt) <= 60 else f"{prompt[:59]}…"
    return f"{title} prefers {f'“{shown}”' if shown else 'this one'}; it disagrees on {share:.0%} of pairs."


def overlay(name: str) -> str:
    """Display name of an overlay, e.g. "Flow (flow smoothness)" for "flow_smoothness.flow"."""
    reward, _, kind = name.partition(".")
    return f"{kind.replace('_', ' ').capitalize()} ({reward.replace('_', ' ')})"


def not_installed(title: str) -> str:
    """List entry of a model whose weights are not on this machine."""
    return f"{title} (not installed)"


def unusable(title: str) -> str:
    """List entry of a model whose files are not those of its family."""
    return f"{title} (cannot be used)"


def too_large(title: str) -> str:
    """List entry of a model whose default clip needs more memory than this machine has."""
    return f"{title} (too large for this machine)"


def which_chosen(number: int) -> str:
    return f"Selected: {count(number, 'clip')}"


def folder(name: str) -> str:
    return f"Folder {name}"


def the_first(number: int) -> str:
    """Remark on a set that is too large to be shown completely."""
    return f"first {number} shown"


def waiting(position: int | None) -> str:
    return "Next in the queue" if position in (None, 1) else f"Queued, #{position}"


def unread(notes: Sequence[str]) -> str:
    """Warning that the model does not read all of a prompt."""
    return f"{' '.join(notes)} The clip is generated without it."


def of_base(model: str) -> str:
    """Caption of a clip of the base model, compared with one with an adapter."""
    return f"{model} (base model)"


def seed(number: int | None) -> str:
    return "" if number is None else f"seed {number}"


def length(num_frames: int, fps: float) -> str:
    return f"{count(num_frames, 'frame')}, {num_frames / fps:.1f} s at {fps:g} FPS"


def deleted(clip_ids: Sequence[str]) -> str:
    return f"Deleted {count(len(clip_ids), 'clip')}."


def score(value: float | None) -> str:
    """Format a reward in 0..1; "" for none."""
    return "" if value is None else f"{value:.2f}"


NOT_APPLICABLE = "not applicable"


def reason(why: str) -> str:
    return f"Not applicable: {why}"


def score_of(value: float, weight: float) -> str:
    return f"{value:.3f} of 1, weight {weight:g}" if weight else f"{value:.3f} of 1, not in the total"


def measured(raw: float, unit: str, low: float, high: float) -> str:
    """Raw value with its range, e.g. "Measured 1.3 px (bad 6, good 0)"."""
    return f"Measured {raw:.4g}{' ' + unit if unit else ''} (bad {low:g}, good {high:g})"


def measured_by(backend: str, confidence: float) -> str:
    """Back end and confidence of a measurement, e.g. "By mini, confidence 0.90"."""
    return f"By {backend}, confidence {confidence:.2f}"


def details(values: Mapping[str, float]) -> str:
    """Further numbers of a reward, e.g. "percentile 93, stretches 4"."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in values.items())
