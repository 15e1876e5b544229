"""Permission to view clips: a labeller may view the clips of pairs that were assigned to them."""

from sqlalchemy import select

from engine.storage.library import Library
from engine.storage.schema import ASSIGNMENTS


def was_assigned(store: Library, labeller: str, showing: str) -> bool:
    """Return whether `showing`, an assignment's number in digits, belongs to the labeller in any campaign."""
    query = select(ASSIGNMENTS.c.id).where(ASSIGNMENTS.c.id == int(showing), ASSIGNMENTS.c.labeller == labeller)
    with store.database.reading() as connection:
        return connection.execute(query).first() is not None
