"""Every word that the page shows, in one place, in plain English.

Sentences for errors are not here: they come with the error (`engine.errors`), so that the CLI says the same.
"""

from collections.abc import Mapping, Sequence

TITLE = "Dailies"
TAGLINE = "Generate, judge and compare takes"
GENERATE, SCORE, LIBRARY = "Generate", "Score", "Library"
NOTE = "One thing to know"
WORKSPACE = "Workspace"
LIGHT_OR_DARK = "Light or dark"
SHARED_WORKSPACE = "Another page serves this workspace too: both show the same clips and jobs."
PAGE_GONE = "There is no clip at this address. It may have been deleted, or belong to another workspace."

# ---- Generate: the form
PROMPT = "Prompt"
PROMPT_HINT = "What the clip should show, e.g. a large red circle moving left over a meadow"
NEGATIVE_PROMPT = "Negative prompt"
NEGATIVE_HINT = "What it should not show"
EXAMPLES = "Try one"
MODEL = "Model"
ADAPTER = "Adapter"
NO_ADAPTER = "None: the model as it is"
NO_ADAPTERS = "None has been trained for this model yet."
SOME_ADAPTERS = "Weights that a training run made for this model."
MIX = "Scored by"
NO_MIX = "Nothing (do not score)"
FRAMES = "Frames"
STEPS = "Denoising steps"
GUIDANCE = "Guidance"
WIDTH = "Width, px"
HEIGHT = "Height, px"
FPS = "Frames a second"
SEED = "Seed"
KEEP_SEED = "Keep"
DICE = "Roll"
TAKES = "Takes"
MORE = "More settings"
RESET = "Model's defaults"
SUBMIT = "Generate"
NO_MODELS = "No model is set up: add a preset to presets/models, or run `make mini`."

EXAMPLE_PROMPTS = (
    "a large red circle moving left over a meadow",
    "a yellow star bouncing at night, looping",
    "a blue square and a red ball rising at night",
    "a pink heart growing in front of a sunset",
)

# ---- Generate: the stage
STAGE_EMPTY_TITLE = "No takes yet"
STAGE_EMPTY_HINT = "Write a prompt and press Generate. The clip plays here, with its scores beside it."
WELCOME_WORDS = {
    "title": STAGE_EMPTY_TITLE,
    "hint": STAGE_EMPTY_HINT,
    "greeting": "This workspace is empty: three ways to begin",
    "steps": {
        "first_clip": {
            "title": "Generate a first clip",
            "hint": "The embedded model makes one within a minute, on any machine, and says how it scored.",
            "button": "Generate an example",
        },
        "import_clips": {
            "title": "Import a clip",
            "hint": "A video of yours, scored by the same rewards and kept in the Library.",
            "button": "Import a video",
        },
        "new_campaign": {
            "title": "Compare by eye",
            "hint": "A campaign asks people which of two takes is better; the votes are what DPO learns from.",
            "button": "Make a campaign",
        },
    },
}
TAKE = "Take"
BARS = "Scores"
TIMELINE = "Frame by frame"

# ---- Library
SEARCH = "Search prompts"
SEARCH_HINT = "Every word must occur"
ANY_MODEL, ANY_ADAPTER, ANY_SOURCE = "Any model", "Any adapter", "Any source"
SOURCES = {"generated": "Generated", "imported": "Imported"}
SOURCE = "Source"
STARRED = "Starred only"
SCORE_FROM, SCORE_TO = "Score from", "Score to"
DATE = "Made"
ORDER = "Order"
ORDERS = {"newest": "Newest first", "oldest": "Oldest first", "best": "Best score first", "worst": "Worst score first"}
DATES = {"any": "At any time", "hour": "In the last hour", "day": "In the last day", "week": "In the last 7 days"}
DATES |= {"month": "In the last 30 days", "before": "More than 30 days ago"}
IMPORT = "Import a video"
IMPORT_TITLE = "Import a video to score it"
IMPORT_PROMPT = "What it shows (optional)"
IMPORT_FILE = "mp4, gif, webm, avi or mkv"
IMPORT_SUBMIT = "Import and score"
CLOSE = "Close"
NOTHING_TO_IMPORT = "No video was chosen: drop a file on the field, or click it to choose one."
NO_MIXES = "No mix of rewards is set up to score the video with: add a preset to presets/rewards."
LIBRARY_EMPTY = ("The library is empty", "Clips that you generate or import appear here by themselves.")
NOTHING_FOUND = ("Nothing matches", "Loosen the filters, or clear them.")
CLEAR_FILTERS = "Clear filters"
COMPARE_TITLE = "Side by side"

# ---- Score
WHICH = "Clips"
WHICH_NEWEST, WHICH_STARRED = "The newest of the Library", "Starred"
SCORE_THESE = "Score what is not scored"
ALL_SCORED = "This mix has scored all of these clips already."
DROP = "Score a video or a folder"
DROP_TITLE = "Score videos from outside"
DROP_FILES = "Drop one video or several"
DROP_FOLDER = "or a folder on the machine that runs Dailies (one opened with --folder)"
DROP_FOLDER_HINT = "/data/clips"
DROP_PROMPT = "What they show (optional; clip.txt beside clip.mp4 goes first)"
DROP_SUBMIT = "Import and score"
NOTHING_TO_SCORE = "No video was chosen: drop files on the field, or name a folder."
WEIGHTS = "Weights"
WEIGHTS_HINT = "Moving a weight ranks the clips again; nothing is stored."
TABLE_EMPTY = ("No clips to rank", "Generate some, or score a video or a folder from outside.")
TOTAL = "Total"
OVERLAY = "What a reward saw"
NO_OVERLAY = "Nothing: the clip alone"
DRAW_OVERLAYS = "Draw overlays"
OVERLAYS_JOB = "What the rewards saw"
NO_OVERLAYS = "The rewards of this mix draw nothing for this clip."
RADAR = "Profile"
CORRELATIONS = "How the rewards hang together"
CORRELATIONS_HINT = "Rank correlation over these clips: 1 the same order, 0 none, -1 the opposite."
DROPPED = "Dropped videos"
LABEL_THESE = "Label these"
LABEL_THESE_HINT = "A new campaign of these clips; those that share a prompt are compared"
DISSENT = "Which reward would choose differently"
TABLE_WORDS = {
    "clips": "Clips by score",
    "rank": "Rank",
    "clip": "Clip",
    "total": "Total",
    "csv": "Export CSV",
    "compare": "Compare",
    "compare_hint": "Two to four clips, side by side",
    "label": LABEL_THESE,
    "label_hint": LABEL_THESE_HINT,
    "clear": "Clear",
    "chosen": "{count} selected",
    "count": "{count} clips",
    "select": "Select",
    "sort": "Sort by {name}",
    "none": "-",
}
SLIDER_WORDS = {"reset": "The mix's own weights", "weights": WEIGHTS}
DISSENT_WORDS = {"dissent": DISSENT, "none": "Score at least two clips to see."}

# ---- Facts of a clip
NOT_SCORED = "not scored"
IMPORTED = "imported"
NONE = "none"
FACTS = {
    "prompt": "Prompt",
    "model": "Model",
    "adapter": "Adapter",
    "seed": "Seed",
    "size": "Size",
    "length": "Length",
    "num_steps": "Steps",
    "guidance": "Guidance",
    "negative_prompt": "Negative prompt",
    "mode": "Mode",
    "mix": "Scored by",
    "created": "Made",
    "id": "Clip",
}
ACTIONS = {
    "again": "Again with this seed",
    "new_seed": "New seed",
    "use_settings": "Use these settings",
    "show_in_library": "Show in Library",
    "score_clip": "Score it",
    "star_clip": "Star",
    "remove_clip": "Delete",
    "close_clip": "Close",
}
ACTIONS_ONCE_SCORED = {"score_clip": "Score again"}
ACTIONS_ONCE_STARRED = {"star_clip": "Remove star"}
ACTION_HINTS = {
    "again": "Generate what the form says now, with this take's seed",
    "new_seed": "Generate this take's settings once more with a seed of its own",
    "use_settings": "Put this clip's settings into the Generate form",
    "star_clip": "Starred clips are found again with one filter of the Library",
    "show_in_library": "Every clip is kept in the Library; open this one there",
}
FACTS_WORDS = {
    "permalink": "Link to this clip",
    "copy": "Copy link",
    "mp4": "Download mp4",
    "frames": "Download lossless",
    "request": "Full request",
    "total": "Score",
}

# ---- Components
COPY_WORDS = {"done": "Copied", "failed": "Not copied: this browser forbids it"}
PLOT_WORDS = {"png": "Download this plot as PNG", "csv": "Download its numbers as CSV"}
PLAYER_WORDS = {
    "player": "Player",
    "scrub": "Frame",
    "speed": "Speed",
    "views": "How to compare",
    "keys": "Keys",
    "remap": "Press a key's button, then the key that you want.",
    "lost": "The file of this clip is gone.",
    "away": "The page's server does not answer. Trying again; nothing is lost.",
    "frame": "{frame} / {frames}  ·  {seconds} s",
    "actions": {
        "play": "Play or pause",
        "back": "One frame back",
        "forward": "One frame on",
        "replay": "Replay",
        "loop": "Loop",
        "slower": "Slower",
        "faster": "Faster",
        "zoom": "Zoom",
        "side": "Side by side",
        "flip": "Flip",
        "wipe": "Wipe",
        "difference": "Difference",
        "aim_left": "Wipe or zoom to the left",
        "aim_right": "Wipe or zoom to the right",
        "aim_up": "Zoom upwards",
        "aim_down": "Zoom downwards",
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
    "clear": "Clear",
    "undo": "Undo",
    "previous": "Previous",
    "next": "Next",
    "range": "{first} to {last} of {total}",
    "unscored": "not scored",
}

# ---- Jobs
PHASES = {
    "start": "Starting",
    "wait": "Waiting for a place on the cluster",
    "load": "Loading the model",
    "encode": "Reading the prompt",
    "denoise": "Denoising",
    "decode": "Decoding",
    "save": "Saving",
    "score": "Scoring",
    "import": "Reading the video",
    "overlays": "Drawing what the rewards saw",
    "train": "Training",
    "preflight": "Checking the recipe",
}
STOPPING = "Stopping after this step"
JOB_ENDS = {
    "failed": "Failed.",
    "cancelled": "Cancelled.",
    "lost": "The worker was stopped in the middle; what was finished before is in the Library.",
}


def count(number: int, noun: str) -> str:
    """ "1 clip", "12,000 clips"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def dissent(title: str, prompt: str, share: float, *, agrees: bool) -> str:
    """How a reward's choice stands to that of the total."""
    pairs = f"it orders {share:.0%} of all pairs otherwise"
    if agrees:
        return f"{title} chooses the same clip; {pairs}."
    shown = prompt if len(prompt) <= 60 else f"{prompt[:59]}…"
    return f"{title} would choose {f'“{shown}”' if shown else 'this one'}; {pairs}."


def unread_videos(unread: Mapping[str, str]) -> str:
    """The first video of a folder that could not be read, and how many more there are."""
    name, why = next(iter(unread.items()))
    more = f" So could {count(len(unread) - 1, 'other video')} not." if len(unread) > 1 else ""
    return f"{name} could not be scored: {why}{more}"


def overlay(name: str) -> str:
    """ "flow_smoothness.flow" as people read it."""
    reward, _, what = name.partition(".")
    return f"{what.replace('_', ' ').capitalize()} ({reward.replace('_', ' ')})"


def not_installed(title: str) -> str:
    """How a list names a model whose weights are not on this machine."""
    return f"{title} (not installed)"


def which_chosen(number: int) -> str:
    return f"Chosen: {count(number, 'clip')}"


def folder(name: str) -> str:
    return f"Folder {name}"


def the_first(number: int) -> str:
    """Of a set that is too large to be shown whole."""
    return f"the first {number} shown"


def waiting(position: int | None) -> str:
    return "Next in the queue" if position in (None, 1) else f"Number {position} in the queue"


def unread(notes: Sequence[str]) -> str:
    """What is said when a clip is asked for and not all of its prompt is read."""
    return f"{' '.join(notes)} The clip is made without it."


def phase(key: str, step: int, of: int) -> str:
    """What a running job does, e.g. "Denoising, step 3 of 20"."""
    words = PHASES.get(key, key.capitalize() or PHASES["start"])
    return f"{words}, step {step} of {of}" if of > 1 else words


def time_left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = max(1, round(seconds))
    return f"about {whole} s left" if whole < 90 else f"about {round(whole / 60)} min left"


def seed(number: int | None) -> str:
    return "" if number is None else f"seed {number}"


def length(num_frames: int, fps: float) -> str:
    return f"{num_frames} frames, {num_frames / fps:.1f} s at {fps:g} a second"


def deleted(clip_ids: Sequence[str]) -> str:
    return f"Deleted {count(len(clip_ids), 'clip')}."


def score(value: float | None) -> str:
    """A reward from 0 to 1 as people read it; "" when there is none."""
    return "" if value is None else f"{value:.2f}"


NOT_APPLICABLE = "not applicable"


def reason(why: str) -> str:
    return f"Not applicable: {why}"


def score_of(value: float, weight: float) -> str:
    return f"{value:.3f} of 1, weight {weight:g}" if weight else f"{value:.3f} of 1, not part of the total"


def measured(raw: float, unit: str, low: float, high: float) -> str:
    """The raw value with what it means, e.g. "Measured 1.3 px (bad 6, good 0)"."""
    return f"Measured {raw:.4g}{' ' + unit if unit else ''} (bad {low:g}, good {high:g})"


def measured_by(backend: str, confidence: float) -> str:
    """Which network or library told, and how sure, e.g. "By mini, confidence 0.90"."""
    return f"By {backend}, confidence {confidence:.2f}"


def details(values: Mapping[str, float]) -> str:
    """Numbers beside a reward, e.g. "percentile 93, stretches 4"."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in values.items())
