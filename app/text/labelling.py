"""Texts of the Label tab: campaigns, voting, results."""

from collections.abc import Mapping, Sequence

from app.text.general import PLAYER_WORDS
from app.text.general import count as counted
from app.text.numbers import duration

LABEL = "Label"
VOTE, RESULTS, NEW, CAMPAIGNS, PAIRS = "Vote", "Results", "New campaign", "Campaigns", "Pairs"

# ---- Voting
CHOICES = {
    "left": "A is better",
    "right": "B is better",
    "tie": "Tie",
    "both_bad": "Both bad",
    "skip": "Skip",
}
AXES = {
    "visual_quality": "Visual quality",
    "motion": "Motion",
    "prompt_match": "Prompt match",
    "identity": "Identity",
}
AXIS_KEYS = {"visual_quality": "q", "motion": "m", "prompt_match": "p", "identity": "i"}
SPARE_KEYS = "ghjkvbcoa"  # for axes that a campaign defines itself
DESK_WORDS = PLAYER_WORDS | {
    "desk": "Which clip is better?",
    "campaign": "Campaign",
    "labeller": "Your name",
    "labeller_hint": "Stored with each vote, and remembered in this browser.",
    "start": "Start",
    "rename": "Switch user",
    "prompt": "Prompt",
    "votes": "Your vote",
    "choices": CHOICES,
    "undo": "Undo",
    "undo_last": "Undo the last vote",
    "note": "Comment",
    "note_hint": "Comment on this pair (optional)",
    "axes": "Criteria",
    "axis_hint": "Cycles through A, B and none",
    "side": {"left": "A", "right": "B", "tie": "tie", "none": "not rated"},
    "place": "{done} voted, {remaining} remaining",
    "generating": "{missing} of {clips} clips still generating",
    "generating_label": "Generated clips",
    "place_many": "{done} voted, hundreds remaining",
    "last": "Last vote",
    "unsent": "The server is not responding: {count} stored in this browser and will be sent when it is back.",
    "unsent_one": "1 vote is",
    "unsent_more": "{count} votes are",
    "away": "The server is not responding. Retrying; nothing is lost.",
    "strange": "A proxy answers instead of the server (HTTP {status}). Retrying; nothing is lost.",
    "not_kept": "This browser stores no site data (blocked or full): unsent votes are lost when the page is closed. "
    "You can keep voting.",
    "nothing_to_undo": "You have no vote to undo in this campaign.",
    "lost": "The file of this clip is missing.",
    "lost_pair": "A file of that pair is missing: the pair was skipped, and the campaign reports it.",
    "undone": "Your last vote was withdrawn.",
    "logout": "Log out",
    "results": "See results",
    "train": "Train on these votes",
    "past": "History",
    "past_hint": "Open a vote to see its pair again and change it. The previous vote is kept on record.",
    "past_none": "You have not voted in this campaign yet.",
    "leave_past": "Keep the vote",
    "changing": "You are changing an earlier vote: {choice}. The next vote replaces it.",
    "no_campaign": [
        "Nothing to label yet",
        "A campaign defines the clips to compare. Create one under “New campaign”.",
    ],
    "no_campaign_here": ["Nothing to label yet", "There is no open campaign yet. This page checks automatically."],
    "no_pairs": ["All pairs are labelled", "Thank you. New pairs appear here automatically."],
    "waiting": ["Clips are being generated", "The first pair appears here when both of its clips are finished."],
    "closed": ["This campaign is closed", "Choose another one above."],
}


# ---- The list of campaigns
LIST_WORDS = {
    "campaigns": CAMPAIGNS,
    "campaign": "Campaign",
    "progress": "Progress",
    "state": "Status",
    "none": "No campaign yet.",
    "open": "open",
    "closed": "closed",
    "edit": "Edit",
    "invite": "Copy invite link",
    "close": "Close",
    "reopen": "Reopen",
    "delete": "Delete",
    "deleted": "Deleted: {title}.",
    "undo": "Undo",
    "title": "Title",
    "target": "Vote limit (0: all pairs)",
    "instructions": "Instructions to labellers",
    "keys": "Keys of A, B, tie and both bad (four digits)",
    "save": "Save",
    "cancel": "Cancel",
}


# ---- The pairs of a campaign
SEARCH_PAIRS = "Search prompts"
SHOW_PAIRS = "Show"
PAIR_STATES = {
    "all": "All pairs",
    "unvoted": "Without votes",
    "decided": "With a preferred clip",
    "split": "Ties and split votes",
    "dropped": "Dropped pairs",
}
PAIR_COLUMNS = ["Prompt", "A", "B", "Votes for A", "Ties", "Votes for B", "Both bad", "AI labellers", ""]
DROP_PAIR, RESTORE_PAIR = "Drop", "Take back"
DROP_HINT = "A dropped pair is not shown to labellers, and its votes do not count. “Take back” undoes it."
JUDGE, JUDGE_BY = "Judge with a model", "AI labeller"
NO_JUDGE = (
    "No AI labeller is declared: add an external reward with a [vlm] table of mode “pairwise”, see docs/rewards.md."
)
JUDGED_BY = "An AI labeller compares pairs that it has not judged, in both orders; its votes are kept apart."
NO_CAMPAIGN = "No campaign yet: create one under “New campaign”."


def pairs_shown(shown: int, found: int, dropped: int) -> str:
    """Line over the table of pairs."""
    first = f"first {shown:,} of {found:,} pairs" if shown < found else counted(found, "pair")
    return f"{first}{f', {dropped:,} dropped' if dropped else ''}"


def verdict(judge: str, choice: str) -> str:
    """Vote of an AI labeller, e.g. "judge_red: A"."""
    return f"{judge}: {choice}"


def progress(votes: int, of: int, pairs: int) -> str:
    """Progress of a campaign."""
    return f"{votes:,} of {counted(of, 'vote')}, {counted(pairs, 'pair')}"


# ---- A new campaign
TITLE = "Title"
TITLE_HINT = "e.g. run 12 against the base"
WHAT = "What is compared"
WHAT_MADE, WHAT_CLIPS = "Models and adapters on prompts", "Clips from the Library"
PROMPTS = "Prompts, one per line"
ENTRANTS = "Models, adapters and checkpoints"
ENTRANTS_HINT = "Two or more; or one, to compare its clips with each other."
CLIPS_PER_PROMPT = "Clips per prompt"
FRAMES = "Frames (0: model default)"
WHICH = "Which clips"
WHICH_HINT = "All clips with the same prompt are compared with each other."
PER_PAIR = "Labellers per pair"
TARGET = "Vote limit (0: all pairs)"
STRATEGY = "Sampling strategy"
STRATEGY_LABELS = {
    "random": "Random",
    "informative": "Most informative for the ranking first",
    "disagreement": "Largest reward disagreement first",
}
STRATEGY_HINT = (
    "Most informative: asks for the votes that narrow the ranking's intervals most. It reaches the same ranking with "
    "fewer votes if several people label each pair or the entrants differ clearly, and shows new pairs before it "
    "requests second votes."
)
RUBRIC = "Additional criteria"
MIX = "Reward mix"
CREATE = "Create campaign"
NO_TITLE = "Enter a title."
NO_PROMPTS = "Enter a prompt, or several, one per line."
NO_ENTRANTS = "Choose a model, or several models, adapters or checkpoints."
NOTHING_TO_COMPARE = "A single model is compared with itself: set Clips per prompt to 2 or more."
NO_CLIPS = "This set has no clips: choose another one."
THE_CAMPAIGN = "The campaign"


def estimate(pairs: int, votes: int, seconds: float) -> str:
    """Size of a new campaign, e.g. "18 pairs, about 3 min of voting"."""
    several = f", {counted(votes, 'vote')}" if votes != pairs else ""
    return f"{counted(pairs, 'pair')}{several}, about {duration(seconds)} of voting."


def of_chosen(count: int) -> str:
    """Default title of a campaign of selected clips."""
    return counted(count, "selected clip")


def created(title: str, missing: int) -> str:
    pending = f" {missing:,} of its clips are being generated; voting starts with the first complete pair."
    return f"“{title}” was created.{pending if missing else ''}"


# ---- Results
NO_RESULTS = ("No votes yet", "The ranking, agreement and reward accuracy appear here after the first votes.")
CAMPAIGN = "Campaign"
MAKE_MISSING = "Generate missing clips"
CLOSE_CAMPAIGN, REOPEN_CAMPAIGN = "Close campaign", "Reopen campaign"
NOTHING_MISSING = "All clips of this campaign exist or are queued."
JUDGED, OVERALL = "Criterion", "Overall"
RANKING = "Ranking"
RANKING_HINT = "Bradley-Terry strengths in log-odds, 0 the average entrant, with {confidence:.0%} bootstrap intervals."
WINS = "Win rates"
WINS_HINT = "Share of votes won by the row against the column; a tie counts as half."
REWARDS = "Reward-human agreement"
REWARDS_HINT = "Share of pairs that a reward orders as people do (0.5 is chance), and its rank correlation with them."
MIX_TOTAL = "The mix"
ACCURACY, TAU = "Accuracy", "Kendall's tau"
TAUS = {"tau": "tau over pairs", "ranking": "tau over the ranking"}
PEOPLE = "Labellers"
TRAIN = "Train DPO on these votes"
NOTHING_TO_TRAIN_ON = "No campaign selected: create one and vote on its pairs first."
NO_PAIR_PRESET = "No training preset uses pairs: add one with `pairs` to presets/train."
EXPORT = "Export"
EXPORTS = {
    "huggingface": "Hugging Face dataset",
    "trl": "TRL pairs",
    "videodpo": "VideoDPO layout",
    "votes": "Votes (CSV)",
}
IMPORT_VOTES, IMPORT_PAIRS = "Import votes (CSV)", "Import pairs (zip)"
READING = "Reading the file…"
NO_CAMPAIGN_FOR_VOTES = "Votes belong to a campaign: choose it first."
PEOPLE_HEADS = (
    "Labeller",
    "Votes",
    "Skipped",
    "Remaining",
    "Votes per hour",
    "Median time",
    "Chose A",
    "Self-consistency",
    "Agreement",
)
PEOPLE_HINT = (
    "An unbiased labeller chooses A about half of the time. Self-consistency: same choice when a pair is repeated. "
    "Agreement: same choice as the other labellers."
)


STRENGTH_AXIS = "Strength (log of the odds)"
CHANCE = ("above chance", "below chance")
SHEET_WORDS = {
    "loading": "Loading the results…",
    "people": PEOPLE,
    "people_hint": PEOPLE_HINT,
    "export": EXPORT,
    "people_heads": PEOPLE_HEADS,
    "learn_hint": "Weights of the reward mix above that agree best with the votes",
    "name": "Name of the new mix",
    "learn": "Learn mix",
}
FIGURES = {
    "votes": "Votes",
    "remaining": "Remaining",
    "pace": "Votes per hour",
    "ready": "Pairs ready",
    "alpha": "Agreement (Krippendorff's alpha)",
    "left": "Chose A",
    "consistent": "Self-consistency",
    "gone": "Pairs skipped (missing file)",
}
BIASED = "position bias"


def share(value: float | None, count: int) -> str:
    """Percentage and count, e.g. "52% of 40"; a dash for no data."""
    return "–" if value is None else f"{value:.0%} of {count:,}"


def votes_came(stored: int, known: int) -> str:
    return f"{counted(stored, 'vote')} imported, {known:,} already existed."


def pairs_came(count: int, file: str) -> str:
    return f"{counted(count, 'pair')} imported. To train on them, use this file of pairs in Train: {file}"


def left_out(sentences: Sequence[str]) -> str:
    more = f" And {len(sentences) - 1:,} more." if len(sentences) > 1 else ""
    return f"Skipped: {sentences[0]}{more}"


def alpha(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "no pair has votes from two labellers yet"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"


def axis(name: str) -> str:
    return AXES.get(name) or name.replace("_", " ").capitalize()


def alpha_of(name: str) -> str:
    return f"Alpha, {axis(name).lower()}"


def judge(key: str) -> str:
    return f"AI labeller {key}"


def judge_agrees(share: str, alpha: float | None, ties: float, first: float | None) -> str:
    alpha_text = "" if alpha is None else f", alpha {alpha:.2f}"
    first_text = "" if first is None else f", first video {first:.0%}"
    return f"as people: {share}{alpha_text}; ties {ties:.0%}{first_text}"


def lacking(mix: str) -> dict[str, str]:
    """Reasons for missing plots, by plot."""
    return {
        "ranking": "No ranking: no vote compares two different models, adapters or checkpoints.",
        "rewards": f"No reward-human agreement: no pair with a preferred clip has both clips scored by “{mix}”. "
        "The Score tab scores clips from the Library.",
    }


def learned(name: str, accuracy: float | None, weights: Mapping[str, float]) -> str:
    """Result of a mix that was learned from votes."""
    share = "" if accuracy is None else f"; it predicts {accuracy:.0%} of the votes on held-out prompts"
    parts = ", ".join(f"{key} {weight:.2f}" for key, weight in weights.items() if weight)
    return f"Saved as {name}{share}. Weights: {parts}."


def seconds(ms: float | None) -> str:
    return "–" if ms is None else f"{ms / 1000:.1f} s"


def not_exported(error: OSError) -> str:
    return f"The export cannot be written ({error.strerror or error}): free some space, and export again."
