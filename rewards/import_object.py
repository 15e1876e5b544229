"""Look up objects by name, so that their modules are imported only when needed."""

import importlib
from typing import Any


def import_object(path: str) -> Any:
    """Return the object at "module:NAME". Raises ImportError or AttributeError when there is none."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)
