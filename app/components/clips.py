"""Components around clips.

The player, the voting panel around it, details of one clip, grid of clips, earlier prompts, saved settings, and the
empty state.
"""

from typing import Any, Literal

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.forms import saved_settings as settings_files
from app.middleware.idempotency import once
from app.text import general, generate, labelling
from app.views.jobs import used_prompts


class ClipPlayer(Component):
    """Synchronised player of one to four clips. `value` comes from `app.views.clips.player`.

    `name` links it to the plot with the id `<name>-timeline`. With `reveals`, it scrolls into view when it gets clips,
    and takes the keyboard focus from the button that was pressed. The voting panel adds its votes through
    `element.player` (see clip_player.js).
    """

    def __init__(self, name: str, *, reveals: bool = False, render: bool = True) -> None:
        more: dict[str, Any] = {"name": name, "reveals": reveals}
        super().__init__("clip_player", words=general.PLAYER_WORDS, elem_id=f"{name}-player", render=render, **more)


class VotingPanel(Component):
    """Voting panel. `value` is {campaign, at}.

    It shows this campaign unless the labeller has chosen another one since. Its script uses the routes of
    `app.api.votes`. Events: choose_campaign {id}; with `offers_new`, after the last vote, see_results {id} and
    train_on_votes {id}.
    """

    custom_events = ("choose_campaign", "see_results", "train_on_votes")

    def __init__(self, name: str, *, offers_new: bool = True, render: bool = True) -> None:
        more: dict[str, Any] = {"name": name, "reveals": False, "offers_new": offers_new}
        super().__init__(
            "clip_player",
            {},
            words=labelling.DESK_WORDS,
            elem_id=name,
            around="voting_panel",
            render=render,
            **more,
        )


class ClipDetails(Component):
    """Details of one clip, with its actions. `value` comes from `app.views.clips.facts`.

    `part` "head" is the prompt, the score and the buttons; "details" is the rest; "alone" is a head with links, for
    places that show no details. With the name of a `grid`, buttons open its clips before and after this one. Each
    action of `general.ACTIONS` is an event of its own name with {id}; the star's has {ids, starred} as well.
    visit_clip {id} is that of a "head" when Back or Forward leads to another clip.
    """

    custom_events = (
        "again",
        "new_seed",
        "use_settings",
        "compare_base",
        "star_clip",
        "show_in_library",
        "score_clip",
        "remove_clip",
        "close_clip",
        "visit_clip",
    )

    def __init__(
        self, name: str, part: Literal["head", "details", "alone"], *, grid: str = "", render: bool = True
    ) -> None:
        more: dict[str, Any] = {"part": part, "grid": grid}
        super().__init__("clip_details", words=general.FACTS_WORDS, elem_id=name, render=render, **more)


class ClipGrid(Component):
    """Grid of clips whose posters play on hover.

    In the mode "library" it has paging and deletion; "takes" is a strip under a player.

    Events: open_clip {id}, star_clip {ids, starred}, compare {ids}, label_these {ids}, remove_clips {ids},
    undo_removal {ids}, turn_page {page}, show_ready {ids} (of jobs).
    """

    custom_events = (
        *("open_clip", "star_clip", "compare", "label_these", "remove_clips", "undo_removal", "turn_page"),
        "show_ready",
    )

    def __init__(self, name: str, mode: Literal["library", "takes"], *, render: bool = True) -> None:
        more: dict[str, Any] = {"name": name, "mode": mode}
        super().__init__("clip_grid", words=general.GRID_WORDS, elem_id=name, render=render, **more)


class PromptHistory(Component):
    """List of the prompts that were used before and of examples; it fills the field of the prompt."""

    def __init__(self, name: str, context: AppContext, *, render: bool = True) -> None:
        def recent_prompts(_: Any = None) -> dict[str, Any]:
            return {"prompts": used_prompts(context)}

        words: dict[str, Any] = {**generate.HISTORY_WORDS, "example_prompts": general.EXAMPLE_PROMPTS}
        functions = [with_problem(recent_prompts)]
        super().__init__("prompt_history", words=words, elem_id=name, server_functions=functions, render=render)


class SavedSettings(Component):
    """List of saved settings of the Generate form.

    Events: save_settings {title}, answered by `app.forms.saved_settings.listing`; apply_settings {id}.
    """

    custom_events = ("save_settings", "apply_settings")

    def __init__(self, name: str, context: AppContext, *, render: bool = True) -> None:
        def saved_settings(_: Any = None) -> dict[str, Any]:
            return settings_files.listing(context)

        def delete_settings(key: str) -> dict[str, Any]:
            return settings_files.delete(context, key)

        def restore_settings(key: str) -> dict[str, Any]:
            return settings_files.restore(context, key)

        functions = [
            with_problem(saved_settings),
            with_problem(once(delete_settings)),
            with_problem(once(restore_settings)),
        ]
        super().__init__(
            "saved_settings", {}, words=generate.SETTINGS_WORDS, elem_id=name, server_functions=functions, render=render
        )


class AdapterRows(Component):
    """Rows of an adapter and its strength. `value` comes from `app.forms.adapter_fields.shown`.

    The browser changes its `rows`.
    """

    def __init__(self, name: str, *, render: bool = True) -> None:
        nothing: dict[str, Any] = {"names": [], "titles": {}, "triggers": {}, "rows": []}
        super().__init__("adapter_rows", nothing, words=general.ADAPTER_WORDS, elem_id=name, render=render)


class EmptyState(Component):
    """Placeholder of the Generate tab without clips; an empty workspace gets three ways to start.

    `value` is "" (hidden), "empty" or "new". Events: first_clip, import_clips, new_campaign.
    """

    custom_events = ("first_clip", "import_clips", "new_campaign")

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("empty_state", "", words=general.WELCOME_WORDS, elem_id=name, render=render)
