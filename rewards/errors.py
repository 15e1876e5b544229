"""The root of every error that Dailies raises on purpose, and the rewards' own branch of the tree.

DailiesError          one sentence for the user: what failed, the value got, what to do
|- RewardError        a reward, a clip or a weight cannot be used
|    `- RewardUnavailable   weights are not on this machine: the suite leaves the reward out and says why
`- (engine.errors holds the branches above this layer)
"""


class DailiesError(Exception):
    """A failure that the user can act on; its text is shown as it is, without a traceback."""


class RewardError(DailiesError):
    """A reward cannot be computed: bad frames, an unknown reward, a NaN, weights that do not fit."""


class RewardUnavailable(RewardError):
    """A reward's weights are not on this machine; the text says how to get them."""
