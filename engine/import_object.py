"""Lookup of objects named by strings, so that their modules are imported only when needed.

The same as `rewards.import_object`, whose package imports pydantic: `dailies --help` must not wait for it.
"""

import importlib
from typing import Any


def import_object(path: str) -> Any:
    """Return the object at "module:NAME". Raises ImportError or AttributeError when there is none."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)
