"""Which reward would choose another clip than the total does: a line a reward, the one that disagrees most first."""

from app import text
from app.components.files import Component


class Dissent(Component):
    """`value` comes from `app.views.ranking.dissent`. Event: open_clip {id}."""

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("dissent", [], words=text.DISSENT_WORDS, elem_id=name, render=render)
