"""Which clips a labeller may look at: those of the pairs that they were shown."""

from sqlalchemy import select

from engine.storage.library import Library
from engine.storage.schema import ASSIGNMENTS


def was_assigned(store: Library, labeller: str, showing: str) -> bool:
    """Whether this showing (the number of an assignment, in digits) is one of the labeller's, in any campaign."""
    query = select(ASSIGNMENTS.c.id).where(ASSIGNMENTS.c.id == int(showing), ASSIGNMENTS.c.labeller == labeller)
    with store.database.reading() as connection:
        return connection.execute(query).first() is not None
