"""Formats of published adapters for diffusion models, recognised by their keys.

Sources: the key names that PEFT, ComfyUI, kohya's sd-scripts and musubi-tuner, and LyCORIS write.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

IMPORT = "import it with `dailies adapters import NAME FILE --model MODEL`, which converts it."
PLAIN = "ask its author for a plain LoRA, or merge it into the model's weights and use these as a separate model."
DIFFERENCES = (".diff", ".diff_b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A format other than diffusers': its key test, its description and the remedy for the user."""

    key: str
    title: str
    remedy: str
    is_of: Callable[[str], bool]
    is_converted: bool = False
    """True when the import can convert the format, at least for some families."""


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
        title="a file with whole differences of layers (.diff, .diff_b) in addition to a LoRA",
        remedy="import it with `dailies adapters import NAME FILE --model MODEL --lora-only`, which leaves these out, "
        "so its effect may be weaker; or merge it into the model's weights and use these as a separate model.",
        is_of=lambda key: key.endswith(DIFFERENCES),
    ),
    Form(
        key="kohya",
        title="in kohya's format (keys such as 'lora_unet_..._q.lora_down.weight')",
        remedy=IMPORT,
        is_of=_begins("lora_unet_", "lora_transformer_", "lora_te"),
        is_converted=True,
    ),
    Form(
        key="comfyui",
        title="in ComfyUI's format (keys begin with 'diffusion_model.')",
        remedy=IMPORT,
        is_of=_begins("diffusion_model."),
        is_converted=True,
    ),
    Form(
        key="peft",
        title="in PEFT's own format (keys begin with 'base_model.model.')",
        remedy=IMPORT,
        is_of=_begins("base_model.model."),
        is_converted=True,
    ),
    Form(
        key="down_up",
        title="in an older format of diffusers (lora_down and lora_up, or lora.down and lora.up)",
        remedy=IMPORT,
        is_of=_has(".lora_down.", ".lora_up.", ".lora.down.", ".lora.up.", "_lora.down.", "_lora.up."),
        is_converted=True,
    ),
)

TEXT = Form(
    key="text",
    title="also an adapter for a text encoder, which Dailies does not support",
    remedy="import it with `dailies adapters import NAME FILE --model MODEL --network-only`, which leaves that out.",
    is_of=_begins("text_encoder.", "text_encoder_2.", "connectors."),
    is_converted=True,
)

NO_LORA = Form(
    key="none",
    title="no adapter: none of its tensors belongs to a LoRA",
    remedy="name the file that the adapter's trainer wrote; full weights are used as a separate model.",
    is_of=lambda key: False,
)


def form_of(keys: Iterable[str]) -> Form | None:
    """Return the format of a file with these keys.

    None for diffusers' format, with or without network prefixes.
    """
    names = list(keys)
    for form in (*FORMS, TEXT):
        if any(form.is_of(name) for name in names):
            return form
    return None if any(".lora_A." in name or ".lora_B." in name for name in names) else NO_LORA
