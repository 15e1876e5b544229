"""The words of the Label tab: campaigns, voting, results."""

from collections.abc import Sequence

from app.text.general import PLAYER_WORDS

LABEL = "Label"
VOTE, RESULTS, NEW = "Vote", "Results", "New campaign"

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
SPARE_KEYS = "ghjkvbcoa"  # of axes that a campaign names itself
DESK_WORDS = PLAYER_WORDS | {
    "desk": "Which clip is better?",
    "campaign": "Campaign",
    "labeller": "Your name",
    "labeller_hint": "Stored with every vote, and remembered in this browser.",
    "start": "Start",
    "rename": "Not you?",
    "prompt": "Prompt",
    "votes": "Your vote",
    "choices": CHOICES,
    "undo": "Undo",
    "undo_last": "Undo the last vote",
    "note": "Note",
    "note_hint": "Anything worth saying of this pair (optional)",
    "axes": "Also better in",
    "axis_hint": "A, then B, then neither",
    "side": {"left": "A", "right": "B", "tie": "tie", "none": "not judged"},
    "place": "{done} voted, {remaining} to go",
    "last": "Last vote",
    "unsent": "The page's server does not answer: {count} kept in this browser, and sent as soon as it is back.",
    "unsent_one": "1 vote is",
    "unsent_more": "{count} votes are",
    "away": "The page's server does not answer. Trying again; nothing is lost.",
    "strange": "Something on the way to the page's server answers in its place (HTTP {status}). Trying again; nothing "
    "is lost.",
    "not_kept": "This browser keeps no site data (blocked, or full): a vote that is not sent yet is lost when the page "
    "is closed. Voting goes on.",
    "nothing_to_undo": "There is no vote of yours to undo in this campaign.",
    "lost": "The file of this clip is gone.",
    "lost_pair": "A file of that pair is gone: it was left out, and the campaign reports it.",
    "undone": "Your last vote is withdrawn.",
    "logout": "Log out",
    "past": "Earlier votes",
    "past_hint": "Open one to look at its pair again and vote anew; what you said before is kept as history.",
    "past_none": "You have not voted in this campaign yet.",
    "leave_past": "Leave it as it is",
    "changing": "You are changing an earlier vote, which said: {choice}. The next vote takes its place.",
    "no_campaign": ["Nothing to label yet", "A campaign says which clips are compared. Make one under “New campaign”."],
    "no_campaign_here": ["Nothing to label yet", "Nobody has opened a campaign yet. This page looks again by itself."],
    "no_pairs": ["Every pair is judged", "Thank you. New pairs appear here by themselves when there are any."],
    "waiting": ["The clips are being made", "The first pair appears here as soon as both of its clips are there."],
    "closed": ["This campaign is closed", "Choose another one above."],
}


# ---- A new campaign
TITLE = "Title"
TITLE_HINT = "e.g. run 12 against the base"
WHAT = "What is compared"
WHAT_MADE, WHAT_CLIPS = "Models and adapters on prompts", "Clips of the Library"
PROMPTS = "Prompts, one a line"
ENTRANTS = "Models, adapters and checkpoints"
ENTRANTS_HINT = "Two or more; or one, whose takes are compared with each other."
TAKES = "Takes of each prompt"
FRAMES = "Frames (0: the model's default)"
WHICH = "Which clips"
WHICH_HINT = "All that share a prompt are compared with each other."
PER_PAIR = "People per pair"
TARGET = "Stop after votes (0: all pairs)"
STRATEGY = "Which pair comes next"
STRATEGIES = {
    "random": "By chance",
    "uncertain": "Most uncertain first",
    "dissent": "Where the rewards disagree first",
}
STRATEGY_HINT = (
    "Most uncertain first needs fewer votes for the same ranking where several people see each pair, or where entrants "
    "differ much; it asks about new pairs before second opinions."
)
RUBRIC = "Rubric beside the overall vote"
MIX = "Score the clips by"
CREATE = "Create campaign"
MADE_PART, RULES_PART = "Clips", "Votes"
NO_SOURCE = "Name two models or adapters and at least one prompt, or choose clips of the Library."


def of_chosen(count: int) -> str:
    """The title that a campaign of chosen clips begins with."""
    return f"{count} chosen clips"


def created(title: str, missing: int) -> str:
    making = f" {missing:,} of its clips are being made; voting begins as soon as the first pair is there."
    return f"“{title}” is open.{making if missing else ''}"


# ---- Results
NO_RESULTS = ("No votes yet", "Rankings, agreement and rewards against people appear here with the first votes.")
CAMPAIGN = "Campaign"
JUDGES = "Rewards of"
REFRESH = "Refresh"
MAKE_MISSING = "Make missing clips"
CLOSE_CAMPAIGN, REOPEN_CAMPAIGN = "Close campaign", "Reopen campaign"
NOTHING_MISSING = "Every clip of this campaign is there, or on its way."
JUDGED, OVERALL = "Judged by", "The clips as a whole"
RANKING = "Ranking"
RANKING_HINT = "Bradley-Terry strengths in log-odds, 0 the average entrant, with {confidence:.0%} bootstrap intervals."
WINS = "Who beat whom"
WINS_HINT = "Share of votes that the row won against the column; ties count half."
REWARDS = "Rewards against people"
REWARDS_HINT = "How often a reward orders a pair as people did (half is chance), and how alike its order is to theirs."
MIX_TOTAL = "The mix"
ACCURACY, TAU = "Accuracy", "Kendall's tau"
TAUS = {"tau": "tau over pairs", "ranking": "tau over the ranking"}
PEOPLE = "Labellers"
TRAIN = "Train DPO on these"
NOTHING_TO_TRAIN_ON = "No campaign is chosen: make one, and vote on its pairs first."
NO_PAIR_RECIPE = "No recipe learns from pairs: add a preset with `pairs` to presets/train."
EXPORT = "Export"
EXPORTS = {
    "huggingface": "Hugging Face dataset",
    "trl": "TRL pairs",
    "videodpo": "VideoDPO layout",
    "votes": "Votes (CSV)",
}
IMPORT_VOTES, IMPORT_PAIRS = "Import votes (CSV)", "Import pairs (zip)"
READING = "Reading the file…"
NO_CAMPAIGN_FOR_VOTES = "Votes are on the pairs of a campaign: choose it first."
PEOPLE_HEADS = (
    "Labeller",
    "Votes",
    "Skipped",
    "To go",
    "Votes an hour",
    "Median time",
    "Chose A",
    "Self-consistent",
    "With the others",
)
PEOPLE_HINT = (
    "A fair labeller chooses A about half of the time; self-consistent: the same choice when a pair came again."
)


SHEET_WORDS = {"people": PEOPLE, "people_hint": PEOPLE_HINT, "export": EXPORT, "people_heads": PEOPLE_HEADS}
FIGURES = {
    "votes": "Votes",
    "remaining": "Remaining",
    "pace": "Votes an hour",
    "ready": "Pairs ready",
    "alpha": "Agreement (Krippendorff's alpha)",
    "left": "Chose A",
    "consistent": "Self-consistent",
    "gone": "Pairs left out, a file being gone",
}
BIASED = "leans to one side"


def share(value: float | None, count: int) -> str:
    """ "52 % of 40"; a dash where there is nothing to count."""
    return "–" if value is None else f"{value:.0%} of {count:,}"


def votes_came(stored: int, known: int) -> str:
    return f"{stored:,} votes are new, {known:,} were there already."


def pairs_came(count: int, file: str) -> str:
    return f"{count:,} pairs came in. Train learns from them with this file of pairs: {file}"


def left_out(sentences: Sequence[str]) -> str:
    more = f" And {len(sentences) - 1:,} more." if len(sentences) > 1 else ""
    return f"Left out: {sentences[0]}{more}"


def alpha(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "no pair has two people's votes yet"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"


def axis(name: str) -> str:
    return AXES.get(name) or name.replace("_", " ").capitalize()


def alpha_of(name: str) -> str:
    return f"Alpha of {axis(name).lower()}"


def lacking(mix: str) -> dict[str, str]:
    """Why a plot is not there."""
    return {
        "ranking": "No ranking: no vote is on clips of two different models, adapters or checkpoints.",
        "rewards": f"No rewards against people: no pair with a preferred clip has both clips scored by “{mix}”. "
        "The Score tab scores clips of the Library.",
    }


def seconds(ms: float | None) -> str:
    return "–" if ms is None else f"{ms / 1000:.1f} s"
