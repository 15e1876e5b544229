"""The forms in which adapters for diffusion models are given out, told apart by their keys.

Sources: the key names that PEFT, ComfyUI, kohya's sd-scripts and musubi-tuner, and LyCORIS write.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

IMPORT = "bring it in with `dailies adapters import NAME FILE --model MODEL`, which converts it."
PLAIN = "ask its author for a plain LoRA, or merge it into the model's weights and use those as a model of their own."


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form other than diffusers': how it is told, what it is called, and what to do with such a file."""

    key: str
    title: str
    remedy: str
    is_of: Callable[[str], bool]
    is_converted: bool = False
    """Whether the import can convert it, at least for some families."""


def _has(*parts: str) -> Callable[[str], bool]:
    return lambda key: any(part in key for part in parts)


def _begins(*parts: str) -> Callable[[str], bool]:
    return lambda key: key.startswith(parts)


FORMS = (
    Form(
        key="lokr",
        title="a LoKr adapter (Kronecker products) and no LoRA",
        remedy=PLAIN,
        is_of=_has(".lokr_"),
    ),
    Form(
        key="lycoris",
        title="a LyCORIS adapter (LoHa, OFT, GLoRA or the like) and no LoRA",
        remedy=PLAIN,
        is_of=_has(".hada_", ".oft_", ".glora_", ".boft_"),
    ),
    Form(
        key="dora",
        title="a DoRA adapter, which scales each layer's weights as well as adding to them",
        remedy=PLAIN,
        is_of=_has("dora_scale", "lora_magnitude_vector"),
    ),
    Form(
        key="differences",
        title="a file with whole differences of layers (.diff, .diff_b) beside its LoRA",
        remedy=PLAIN,
        is_of=lambda key: key.endswith((".diff", ".diff_b")),
    ),
    Form(
        key="kohya",
        title="in kohya's form (keys such as 'lora_unet_..._q.lora_down.weight')",
        remedy=IMPORT,
        is_of=_begins("lora_unet_", "lora_transformer_", "lora_te"),
        is_converted=True,
    ),
    Form(
        key="comfyui",
        title="in ComfyUI's form (keys begin with 'diffusion_model.')",
        remedy=IMPORT,
        is_of=_begins("diffusion_model."),
        is_converted=True,
    ),
    Form(
        key="peft",
        title="in PEFT's own form (keys begin with 'base_model.model.')",
        remedy=IMPORT,
        is_of=_begins("base_model.model."),
        is_converted=True,
    ),
    Form(
        key="down_up",
        title="in an older form of diffusers (lora_down and lora_up, or lora.down and lora.up)",
        remedy=IMPORT,
        is_of=_has(".lora_down.", ".lora_up.", ".lora.down.", ".lora.up.", "_lora.down.", "_lora.up."),
        is_converted=True,
    ),
)

TEXT = Form(
    key="text",
    title="an adapter for a text encoder as well, which Dailies does not adapt",
    remedy="bring it in with `dailies adapters import NAME FILE --model MODEL --network-only`, which leaves that out.",
    is_of=_begins("text_encoder.", "text_encoder_2.", "connectors."),
    is_converted=True,
)

NO_LORA = Form(
    key="none",
    title="no adapter: none of its tensors is a LoRA's",
    remedy="name the file that the adapter's trainer wrote; whole weights are used as a model of their own.",
    is_of=lambda key: False,
)


def form_of(keys: Iterable[str]) -> Form | None:
    """The form of a file with these keys; None for that of diffusers, with or without a network's name before them."""
    names = list(keys)
    for form in (*FORMS, TEXT):
        if any(form.is_of(name) for name in names):
            return form
    return None if any(".lora_A." in name or ".lora_B." in name for name in names) else NO_LORA
