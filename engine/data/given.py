"""Which clips a labeller may look at: those of the pairs that they were given."""

from sqlalchemy import or_, select

from engine.data.store import Store
from engine.data.tables import ASSIGNMENTS, PAIRS


def was_given(store: Store, labeller: str, clip_id: str) -> bool:
    """Whether the labeller was ever given a pair with this clip, in any campaign."""
    query = select(ASSIGNMENTS.c.id).join(PAIRS, PAIRS.c.id == ASSIGNMENTS.c.pair_id).limit(1)
    of_clip = or_(PAIRS.c.clip_a == clip_id, PAIRS.c.clip_b == clip_id)
    with store.database.reading() as connection:
        return connection.execute(query.where(ASSIGNMENTS.c.labeller == labeller, of_clip)).first() is not None
