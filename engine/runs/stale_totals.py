"""Withdrawal of totals made with another calibration: reports keep them, clips lose them."""

import logging

from engine.config.presets import load_preset
from engine.errors import DailiesError
from engine.storage.library import Library
from rewards.calibration import mix_calibration
from rewards.errors import RewardError

log = logging.getLogger(__name__)


def withdraw_old_totals(store: Library) -> int:
    """Withdraw totals that are not comparable with the present calibrations; return the number of clips.

    The reports stay, and scoring a clip again gives it a new total. A mix that cannot be read keeps its totals.
    """
    withdrawn = 0
    for mix in store.mixes():
        try:
            present = mix_calibration(load_preset("rewards", mix))
        except (DailiesError, RewardError) as error:
            log.warning("The totals of the mix '%s' cannot be checked: %s", mix, error)
            continue
        withdrawn += store.withdraw_totals(mix, present)
    if withdrawn:
        log.info("%d clips were scored with another calibration and are not ordered by score any more.", withdrawn)
    return withdrawn
