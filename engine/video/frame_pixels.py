"""Decoded frames of PyAV as upright, square, progressive, opaque SDR pictures `uint8[H,W,3]`."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from engine.video.tone_mapping import Transfer, to_sdr

# Code points of ITU-T H.273, which FFmpeg uses for its enumerations.
TRANSFERS: dict[int, Transfer] = {16: "pq", 18: "hlg"}
BT2020 = 9
COMPOSITED = "Transparent parts were composited on black."
DEINTERLACED = "Interlaced frames were deinterlaced."


class Pixels:
    """Converts the frames of one stream to pictures, and records changes in `notes`.

    `aspect` is the width of a pixel over its height; None counts as 1.
    """

    def __init__(self, aspect: Fraction | None) -> None:
        self.aspect = aspect if aspect else Fraction(1)
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def square_width(self, width: int) -> int:
        """The width in square pixels of a picture that is `width` pixels wide."""
        return width if self.aspect == 1 else max(2, round(width * self.aspect / 2) * 2)

    def rgb(self, frame: Any) -> np.ndarray:
        """One frame as `uint8[H,W,3]`."""
        width = self.square_width(frame.width)
        if width != frame.width:
            self._notes[f"Pixels of {self.aspect.numerator}:{self.aspect.denominator} were made square."] = None
        transfer, wide = TRANSFERS.get(int(frame.color_trc), "sdr"), int(frame.color_primaries) == BT2020
        if transfer != "sdr" or wide:
            picture = self._tone_mapped(frame, width, transfer, wide)
        elif any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8":
            picture = self._composited(_converted(frame, width, "rgba"))
        else:
            picture = _converted(frame, width, "rgb24")
        return np.ascontiguousarray(_upright(picture, int(frame.rotation)))

    def deinterlaced(self, frames: Iterable[Any]) -> Iterator[Any]:
        """The frames, with those that are marked as interlaced deinterlaced (bwdif), at the same rate."""
        graph = None
        for frame in frames:
            if graph is None and frame.interlaced_frame:
                graph = _bwdif(frame)
                self._notes[DEINTERLACED] = None
            if graph is None:
                yield frame
            else:
                graph.push(frame)
                yield from _pulled(graph)
        if graph is not None:
            graph.push(None)
            yield from _pulled(graph)

    def _tone_mapped(self, frame: Any, width: int, transfer: Transfer, wide: bool) -> np.ndarray:
        names = {"pq": "HDR (PQ)", "hlg": "HDR (HLG)", "sdr": "Wide-gamut (BT.2020)"}
        self._notes[f"{names[transfer]} colours were converted to SDR (BT.709)."] = None
        return to_sdr(_converted(frame, width, "rgb48le"), transfer, wide_gamut=wide)

    def _composited(self, rgba: np.ndarray) -> np.ndarray:
        alpha = rgba[..., 3:].astype(np.uint16)
        if (alpha == 255).all():
            return rgba[..., :3]
        self._notes[COMPOSITED] = None
        return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)


def _converted(frame: Any, width: int, layout: str) -> np.ndarray:
    """Convert a frame, then scale it to `width`: one step would scale chroma at half resolution."""
    converted = frame.reformat(format=layout)
    if width != frame.width:
        converted = converted.reformat(width=width, interpolation="BICUBIC")
    return converted.to_ndarray()


def _upright(picture: np.ndarray, rotation: int) -> np.ndarray:
    """`rotation` is counter-clockwise in degrees; other angles than quarter turns are left."""
    return np.rot90(picture, round(rotation / 90)) if rotation % 90 == 0 else picture


def _bwdif(frame: Any) -> Any:
    import av.filter

    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    filtering, sink = graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    source.link_to(filtering)
    filtering.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Any) -> Iterator[Any]:
    import av

    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
