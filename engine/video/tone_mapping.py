"""HDR and wide-gamut pictures as BT.709 SDR: pure functions on numpy arrays.

Steps: code values, display light in cd/m2, BT.2390 tone curve, BT.709 primaries, code values of a 2.4 gamma display.

source      PQ and HLG: ITU-R BT.2100-2, tables 4 and 5 (HLG for a nominal peak of 1000 cd/m2, gamma 1.2); tone curve:
            ITU-R BT.2390-8, section 5.4.1, on the largest of R, G, B, so that hues stay; reference white of 203 cd/m2:
            ITU-R BT.2408-4; display gamma: ITU-R BT.1886; BT.2020 to BT.709: ITU-R BT.2087-0
"""

from typing import Literal

import numpy as np

Transfer = Literal["pq", "hlg", "sdr"]

SDR_WHITE = 203.0  # cd/m2
HDR_PEAK = 1000.0  # cd/m2: what PQ is mastered to as a rule, and the nominal peak of HLG
GAMMA = 2.4
LEVELS = 65536
BT2020_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def to_sdr(codes: np.ndarray, transfer: Transfer, *, wide_gamut: bool) -> np.ndarray:
    """Convert `uint16[...,3]` full-range RGB code values to `uint8[...,3]` BT.709 RGB.

    `wide_gamut` means BT.2020 primaries. SDR code values ("sdr") change their primaries only.
    """
    light = _light(codes, transfer)
    if transfer != "sdr":
        peak = light.max(axis=-1, keepdims=True)
        light *= tone_curve(peak) / np.maximum(peak, 1e-6)
    if wide_gamut:
        light = light @ BT2020_TO_BT709.T
    return np.round(np.clip(light / SDR_WHITE, 0, 1) ** (1 / GAMMA) * 255).astype(np.uint8)


def tone_curve(light: np.ndarray) -> np.ndarray:
    """Map display light of 0 to 1000 cd/m2 to 0 to 203 cd/m2; 88 cd/m2 and less stay as they are."""
    top = pq_code(np.array(HDR_PEAK))
    code, white = np.minimum(pq_code(light) / top, 1), float(pq_code(np.array(SDR_WHITE)) / top)
    knee = 1.5 * white - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return np.where(code < knee, light, pq_light(spline * top)).astype(np.float32)


def pq_light(code: np.ndarray) -> np.ndarray:
    """PQ code values 0..1 to display light in cd/m2 (the EOTF of BT.2100, table 4)."""
    root = np.maximum(code, 0) ** (1 / _M2)
    return 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def pq_code(light: np.ndarray) -> np.ndarray:
    """Display light in cd/m2 to PQ code values 0..1 (the inverse EOTF of BT.2100, table 4)."""
    power = (np.maximum(light, 0) / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _light(codes: np.ndarray, transfer: Transfer) -> np.ndarray:
    """Display light in cd/m2, float32[...,3]."""
    table = np.linspace(0, 1, LEVELS)
    match transfer:
        case "pq":
            return pq_light(table).astype(np.float32)[codes]
        case "hlg":
            scene = _hlg_scene(table).astype(np.float32)[codes]
            luminance = (scene @ BT2020_LUMINANCE)[..., None]
            return HDR_PEAK * np.maximum(luminance, 1e-6) ** np.float32(0.2) * scene
        case "sdr":
            return (SDR_WHITE * table**GAMMA).astype(np.float32)[codes]


def _hlg_scene(code: np.ndarray) -> np.ndarray:
    """HLG code values 0..1 to scene light 0..1 (the inverse OETF of BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
