"""A campaign of 100,000 pairs with 1,000,000 votes of 20 people, written to the database in a few statements."""

from datetime import datetime, timedelta

from sqlalchemy import (
    BindParameter,
    Connection,
    Float,
    Integer,
    Text,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    select,
    text,
)

from engine.clock import now
from engine.labelling.campaign_spec import CampaignSpec
from engine.storage.clip_files import FILES
from engine.storage.library import Library
from engine.storage.schema import ASSIGNMENTS, CAMPAIGN_CLIPS, CAMPAIGNS, CLIPS, LABELLERS, PAIRS, VOTES

ENTRANTS, PROMPTS, PEOPLE, VOTES_PER_PAIR = 200, 500, 20, 10
CAMPAIGN = "0000beef"
SHAPE = {"num_frames": 9, "width": 64, "height": 64, "fps": 8.0, "source": "generated"}
ROWS = 5_000  # of one statement


def labeller(number: int) -> str:
    return f"labeller-{number:02d}"


def fill(store: Library, prompts: int = PROMPTS, entrants: int = ENTRANTS) -> None:
    """Of each prompt a clip of each entrant, and as many pairs; a half of the people judges the even pairs, the other
    half the odd ones. One more vote on each pair is wanted.
    """
    spec = CampaignSpec(
        title="many", clip_ids=("0" * 16, "1" * 16), labellers_per_pair=VOTES_PER_PAIR + 1, repeat_share=0
    )
    moment = now() - timedelta(days=1)
    clips = [
        {"id": f"{number:016x}", "prompt": f"prompt {number // entrants}", "model": f"m{number % entrants}"}
        for number in range(prompts * entrants)
    ]
    added = [{**clip, **SHAPE, "created_at": moment, "number": number} for number, clip in enumerate(clips, start=1)]
    owned = [{"campaign_id": CAMPAIGN, "clip_id": clip["id"], "entrant": clip["model"]} for clip in clips]
    pairs = [_pair(number, entrants, prompts * entrants) for number in range(prompts * entrants)]
    with store.database.writing() as connection:
        row = {"id": CAMPAIGN, "title": spec.title, "spec": spec.model_dump(mode="json"), "created_at": moment}
        connection.execute(insert(CAMPAIGNS).values(row))
        for table, rows in ((CLIPS, added), (CAMPAIGN_CLIPS, owned), (PAIRS, pairs)):
            for start in range(0, len(rows), ROWS):
                connection.execute(insert(table), rows[start : start + ROWS])
        _vote(connection, prompts * entrants)
        if not store.database.is_sqlite:
            connection.execute(text("ANALYZE"))  # as PostgreSQL does by itself, only later
    for clip in clips[: 10 * entrants]:  # those of the pairs that are asked for first; their files are only names
        folder = store.workspace.clip_folder(str(clip["id"]))
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name).write_text("a clip")


def _pair(number: int, entrants: int, count: int) -> dict[str, object]:
    prompt, first = divmod(number, entrants)
    second = (first + 1 + prompt % (entrants - 1)) % entrants
    ids = [f"{prompt * entrants + entrant:016x}" for entrant in (first, second)]
    named = {"clip_a": ids[0], "clip_b": ids[1], "entrant_a": f"m{first}", "entrant_b": f"m{second}"}
    place = {"id": f"{number * 2654435761 % 2**32:08x}{number:08x}", "shuffle": number / count}
    return {**named, **place, "campaign_id": CAMPAIGN, "free": 1, "prompt": f"prompt {prompt}"}


def _vote(connection: Connection, count: int) -> None:
    slots = select(literal(0).label("slot")).cte("slots", recursive=True)
    slots = slots.union_all(select(slots.c.slot + 1).where(slots.c.slot < VOTES_PER_PAIR - 1))
    number = cast(func.round(cast(PAIRS.c.shuffle * count, Float)), Integer)
    who = (number % 2) * VOTES_PER_PAIR + slots.c.slot
    name = literal("labeller-") + case((who < 10, "0"), else_="") + cast(who, Text)
    left = case(((number + slots.c.slot) % 2 == 0, PAIRS.c.clip_a), else_=PAIRS.c.clip_b)
    moment: BindParameter[datetime] = bindparam("moment", now() - timedelta(hours=1), ASSIGNMENTS.c.voted_at.type)
    shown = select(
        PAIRS.c.campaign_id, PAIRS.c.id, name, left, number // 2, slots.c.slot, literal(False), moment, moment
    ).select_from(PAIRS.join(slots, literal(True)))
    columns = "campaign_id pair_id labeller left_clip place slot is_repeat created_at voted_at".split()
    connection.execute(insert(ASSIGNMENTS).from_select(columns, shown.order_by(number, slots.c.slot)))
    chance = (ASSIGNMENTS.c.id % 100 * 79) % 100
    choice = case((chance < 45, "left"), (chance < 85, "right"), (chance < 97, "tie"), else_="skip")
    votes = select(
        literal("vote-") + cast(ASSIGNMENTS.c.id, Text),
        ASSIGNMENTS.c.campaign_id,
        ASSIGNMENTS.c.id,
        choice,
        literal({}, VOTES.c.axes.type),
        literal(""),
        500 + (ASSIGNMENTS.c.id % 3000 * 7) % 3000,
        ASSIGNMENTS.c.voted_at,
        literal(True),
        ASSIGNMENTS.c.labeller,
    ).order_by(ASSIGNMENTS.c.id)
    columns = "client_uuid campaign_id assignment_id choice axes note ms created_at current labeller".split()
    connection.execute(insert(VOTES).from_select(columns, votes))
    done = func.count()
    skipped = func.count(case((VOTES.c.choice == "skip", 1)))
    counts = select(VOTES.c.campaign_id, VOTES.c.labeller, done, skipped, done - skipped, done)
    counts = counts.group_by(VOTES.c.campaign_id, VOTES.c.labeller)
    columns = "campaign_id labeller done skipped counted changes".split()
    connection.execute(insert(LABELLERS).from_select(columns, counts))
