"""First and last pictures of requests, as conditioning of the model and as input of rewards."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from engine.errors import ConfigError
from engine.family_interface import ModelFamily
from engine.request import GenerationRequest
from engine.storage.images import fit_picture

LoadPicture = Callable[[str], np.ndarray]


def picture_extras(
    family: ModelFamily, requests: Sequence[GenerationRequest], load: LoadPicture | None
) -> dict[str, Tensor]:
    """Return the `Conditioning.extras` of the requests' pictures, one row a request; {} without pictures.

    The requests have equal shapes, and all or none of them an `image` and a `last_image`. `load` returns the picture
    `uint8[H,W,3]` of a name; its centre is cropped and resized to the clip's size. Raises ConfigError without a store
    of pictures, and StoreError for a missing picture.
    """
    first, rows = requests[0], []
    if first.image is None and first.last_image is None:
        return {}
    if load is None:
        raise ConfigError("Given pictures need a store of pictures, but the context has none.")
    known: dict[tuple[str | None, str | None], dict[str, Tensor]] = {}
    for request in requests:
        key = request.image, request.last_image
        known[key] = known[key] if key in known else _encoded(family, request, load)
        rows.append(known[key])
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def first_picture(request: GenerationRequest, load: LoadPicture | None) -> np.ndarray | None:
    """Return the first picture `uint8[H,W,3]` at the clip's size, as the model gets it, or None.

    Raises StoreError for a missing picture.
    """
    if request.image is None or load is None:
        return None
    return np.array(fit_picture(load(request.image), request.width, request.height))  # a decoded picture is read-only


@torch.no_grad()
def _encoded(family: ModelFamily, request: GenerationRequest, load: LoadPicture) -> dict[str, Tensor]:
    """Return the extras of one request.

    Pictures are encoded one request at a time: a row must not depend on others.
    """

    def shown(name: str) -> np.ndarray:
        return np.array(fit_picture(load(name), request.width, request.height))  # a decoded picture is read-only

    places = {0: request.image, request.num_frames - 1: request.last_image}
    given = {place: shown(name) for place, name in places.items() if name is not None}
    extras: dict[str, Tensor] = {}
    if family.spec.keeps_first and 0 in given:
        extras["first"] = family.encode_frames(given.pop(0)[None, None])[:, :, 0]
    if given:
        extras |= family.encode_pictures(np.stack(list(given.values()))[None], tuple(given), request.num_frames)
    return extras
