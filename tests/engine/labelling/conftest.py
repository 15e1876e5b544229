"""The campaigns of the test's library."""

import pytest

from engine.labelling.campaigns import Campaigns
from engine.storage.library import Library


@pytest.fixture
def campaigns(store: Library) -> Campaigns:
    return Campaigns(store)
