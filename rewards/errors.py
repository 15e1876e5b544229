"""`DailiesError`, the base class of errors that Dailies raises on purpose, and the errors of rewards.

DailiesError          one sentence for the user: the failure, the value, the remedy
|- RewardError        a reward, a clip or a weight cannot be used
|    `- RewardUnavailable   weights are not on this machine: the suite leaves the reward out with the reason
`- (engine.errors holds the subclasses of the layers above)
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class DailiesError(Exception):
    """A failure that the user can act on; its text is shown as it is, without a traceback."""


class RewardError(DailiesError):
    """A reward cannot be computed: bad frames, an unknown reward, a NaN, weights that do not fit."""


class RewardUnavailable(RewardError):
    """A reward's weights are not on this machine; the message contains the command that gets them."""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return a sentence with the option nearest to `word`, or with all options when none is near.

    Return "" when there are no options.
    """
    names = sorted(options)
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known: {', '.join(names)}." if names else ""


def first_problem(error: "ValidationError", whole: str = "the file") -> str:
    """Return the place and the message of the first problem.

    `whole` is the place of one that is of no field.
    """
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg'].removeprefix('Value error, ')}"
