"""Texts of the help dialog: first steps, shortcuts, glossary."""

from typing import Any

from app.text.general import PLAYER_WORDS

HELP_WORDS: dict[str, Any] = {
    "help": "Help",
    "hint": "Help, shortcuts and glossary (?)",
    "close": "Close",
    "start": "Start here",
    "start_hint": "One turn of the loop: each step ticks itself.",
    "progress": "Start here {done}/{of}",
    "hide": "Hide from the header",
    "done": "done",
    "todo": "to do",
    "open": "Open",
    "shortcuts": "Shortcuts",
    "shortcuts_hint": PLAYER_WORDS["remap"],
    "fixed": [["Help", "?"], ["Press the main button of a form", "Ctrl + Enter"], ["Close a dialog or a clip", "Esc"]],
    "actions": PLAYER_WORDS["actions"],
    "glossary": "Glossary",
    "find": "Find a term",
    "docs": "Documentation",
    "about": "What is {term}?",
}

NO_DOCS = "The documentation has no such page: /docs/index.md lists all.\n"
DOCS_WORDS = {"docs": HELP_WORDS["docs"], "all_pages": "All pages"}
VOTES_WANTED = 20
STEPS = {
    "clip": ("Generate a clip", "The embedded model makes one in seconds, on any machine.", "generate"),
    "score": ("Score it", "Rewards measure motion, shape and the match with the prompt.", "score"),
    "votes": (f"Vote on {VOTES_WANTED} pairs", "Create a campaign in Label and say which clip is better.", "label"),
    "run": ("Train a first run", "“Train on these votes” fills the form; Queue starts the run.", "train"),
    "evaluation": (
        "Evaluate it",
        "Monitor compares the run with its base model on fixed prompts and seeds.",
        "monitor",
    ),
    "adapter": ("Use its checkpoint", "“Use this adapter” in Monitor, then Generate.", "generate"),
}

# Help of each field beyond the settings of a request, by the names of app/forms and of the Train form.
GENERATE_FIELDS = {
    "takes": "Number of clips of the prompt, with consecutive seeds.",
    "mix": "The weighted rewards that score the clips; the best clip is shown first.",
    "seed": "Number of the random noise: the same seed and settings make the same clip. Lock keeps it.",
    "preview": "Shows rough pictures of the clips while they are denoised; they cost less than 2% of the time.",
    "prompts": "A prompt in each line, or a JSON object with prompt and negative_prompt.",
    "columns": "The setting that differs from column to column of the grid.",
    "column_values": "Values separated by commas; prompts and checkpoints may be separated by |.",
    "rows": "The setting that differs from row to row of the grid.",
    "row_values": "Values separated by commas; prompts and checkpoints may be separated by |.",
}
TRAIN_FIELDS = {
    "preset": "A training preset: an algorithm with its model, data and settings. Every choice can be changed below.",
    "model": "The model that is trained; its own weights stay, and an adapter is trained unless lora_rank is 0.",
    "adapter": "The adapter that the run starts from, instead of the base model.",
    "prompts": "The prompts of the clips that the run generates and learns from.",
    "mix": "The weighted rewards that the run learns from.",
    "rewards": "Per reward: the advantages of each reward are added up. Weighted total: one number a clip, with gates.",
    "campaign": "The pairs of preferred and rejected clips that the run learns from.",
    "judge": "Its votes make the pairs that people have not compared.",
    "judge_agreement": "Least share of its preferences that people share, 0 to 1, over 20 or more pairs; 0: any.",
    "pairs": "A folder, or a .jsonl or .csv file, of preferred and rejected clips.",
    "share": "Share of the device that the run reserves. Below 100%, other jobs can run at the same time.",
}

# The rewards explain themselves, see `app.views.training.first_steps`.
GLOSSARY = {
    "Adapter (LoRA)": "Small trained weights that are added to a model; its strength scales them, 0 is the base model.",
    "AI labeller": "A vision-language model that compares pairs as people do. Its votes are kept apart from theirs.",
    "Alpha": "Krippendorff's alpha, the agreement of labellers beyond chance: 1 is perfect, 0 is chance.",
    "Base model": "The model as it was published, without an adapter.",
    "Bradley-Terry": "Ranks entrants by their strengths: the difference of two gives the chance that one is preferred.",
    "Campaign": "A set of pairs of clips to label, with its rules.",
    "Checkpoint": "The state of a run at one step. The run can be resumed from it, and its adapter can be used.",
    "Curriculum": "Training in stages, such as longer and longer clips; each stage ends when its gate is met.",
    "Denoising steps": "Passes of the network from noise to a clip: more take longer and usually look better.",
    "DPO": "Direct preference optimisation: trains on pairs, so that the model prefers what people chose.",
    "Entrant": "A source of clips in a campaign: a model, or a model with an adapter or a checkpoint.",
    "Evaluation": "Clips of the same prompts and seeds before and after a run, measured, with intervals.",
    "Gate": "A factor of the total that a fault lowers, such as a still or a cut; no reward can make up for it.",
    "GRPO": "Group relative policy optimisation: trains on rewards of several clips of a prompt, compared.",
    "Guidance": "How strongly the prompt steers: higher follows it more closely, too high looks oversaturated.",
    "Held out": "Rewards and prompts that a run does not train on: they tell whether it learned or cheated.",
    "Mix": "A weighted set of rewards, whose total ranks clips. Its networks know the clips that it is for.",
    "NFT": "DiffusionNFT: trains on rewards of generated clips, without differentiating through the sampler.",
    "Pair": "Two clips of one prompt, shown side by side.",
    "Preflight": "Checks before a run starts, such as whether its rewards can tell its clips apart.",
    "Reward": "A function that gives a clip a number from 0 (bad) to 1 (good).",
    "Rollout": "A generated clip with all its denoising steps, which online training learns from.",
    "Seed": "Number of the random noise: the same seed and settings make the same clip.",
    "Tie": "Neither clip is better. A pair of ties makes no pair to train on.",
}


def icon(term: str) -> str:
    """HTML of a button that opens the glossary at a term."""
    assert term in GLOSSARY, f"the glossary has no {term}"
    about = HELP_WORDS["about"].format(term=term)
    return f'<button type="button" class="help-icon" data-help="{term}" aria-label="{about}" title="{about}">?</button>'
