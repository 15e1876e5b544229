"""Loading shared by all families: find and check the folder, read its parts, reject damaged weights."""

import hashlib
import importlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import FamilyError, HubError
from engine.families.files.model_folders import (
    refuse_dropped_layers,
    refuse_file,
    refuse_loose_files,
    refuse_nan,
    refuse_quantised,
    variant_of,
)
from engine.families.files.single_files import is_single_file, read_single_file
from engine.families.vae import to_pixels
from engine.hardware.weight_storage import offload_blocks, store_in_float8
from engine.hub.download import download, plan_download
from engine.hub.permission import ALLOW_DOWNLOAD, is_automatic
from engine.hub.repository import HubSource
from engine.hub.selection import CONFIG, ROOT, Needs, missing_files
from engine.model_spec import FamilyOptions, FamilySpec
from engine.sampling.scheduler_settings import check_settings
from engine.seeds import unit_noise

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from engine.request import GenerationRequest

LIBRARIES = ("diffusers", "transformers")
DENOISERS = ("transformer", "transformer_2")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")  # offloaded with `FamilyOptions.offload_text`
TEXT_FOLDERS = ("t[eo]*", "connectors")  # tokenizers, text encoders, LTX-2's connectors between these and the network
INDEX_FILE = "model_index.json"
NO_PARTS: Mapping[str, str] = {}
NETWORK = Needs(parts=(ROOT,), files=(CONFIG,))
"""What a repository, or a folder, of one network must have."""
Classes = str | tuple[str, ...]


class DiffusersFamily:
    """A model in a diffusers folder, opened part by part. Families add `load` and the verbs.

    `parts` maps each subfolder to its class, or to its allowed classes. `optional_parts` are further folders, which
    only some models of the family have.
    """

    spec: ClassVar[FamilySpec]
    parts: ClassVar[Mapping[str, Classes]]
    optional_parts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, source: str, options: FamilyOptions | None = None) -> None:
        self.source = source
        self.options = options or FamilyOptions()

    def open_folder(self, device: str, dtype: "torch.dtype") -> None:
        """Find and check the folder; set `folder`, `device`, `dtype`, `scheduler_config` and `text_key`."""
        self.folder = find_folder(self.source, folder_needs(type(self), self.options.parts))
        check_parts(self.folder, {part: name for part, name in self.parts.items() if part not in self.options.parts})
        self.device, self.dtype = device, dtype
        own = read_json(self.folder / "scheduler" / "scheduler_config.json")
        check_settings(own, self.options.scheduler, self.spec.prediction)
        self.scheduler_config: Mapping[str, Any] = {**own, **self.options.scheduler}
        self.text_key = f"{self.spec.key} {text_fingerprint(self.folder)} {dtype}"

    def read(self, part: str, dtype: "torch.dtype | None" = None, device: str | None = None) -> Any:
        """Return a network of the folder, with the index's class, or from the part's own source."""
        if part in DENOISERS:
            return self.stored(self._read(part, dtype, "cpu" if self.options.offload_blocks else device))
        return self._read(part, dtype, device)

    def stored(self, network: Any) -> Any:
        """Return the denoising network, stored as the options say."""
        if self.options.weights_float8:
            store_in_float8(network, self.spec.block_classes, self.dtype)
        if self.options.offload_blocks:
            offload_blocks(network, self.device)
        return network

    def _read(self, part: str, dtype: "torch.dtype | None", device: str | None) -> Any:
        if part in self.options.parts:
            return self._read_elsewhere(part, self.options.parts[part], device or self.device, dtype or self.dtype)
        library, name = read_json(self.folder / "model_index.json")[part]
        if library not in LIBRARIES:
            raise FamilyError(f"'{self.folder}': {part} is of the library '{library}', but only {LIBRARIES} are used.")
        model_class = getattr(importlib.import_module(library), name)
        return read_network(model_class, self.folder, part, device or self.device, dtype or self.dtype)

    def _read_elsewhere(self, part: str, source: str, device: str, dtype: "torch.dtype") -> Any:
        """Return a network from its own folder, such as the output of full fine-tuning, or from a single file.

        Raises FamilyError.
        """
        import diffusers

        if is_single_file(source):
            return move(read_single_file(Path(source).expanduser(), self.folder, part, dtype), device, source)
        folder = find_folder(source, NETWORK)
        name = str(read_json(folder / "config.json").get("_class_name"))
        expected = self.parts.get(part) or self.parts[self.spec.network_part]
        if name not in ((expected,) if isinstance(expected, str) else expected):
            raise FamilyError(
                f"'{folder}' holds a {name}, but the {part} of this family is {expected}: name another folder."
            )
        return read_network(getattr(diffusers, name), folder, ".", device, dtype)

    def decode(self, latents: "Tensor") -> "np.ndarray":
        """Decode denoised latents, see `ModelFamily.decode`."""
        import torch

        with torch.no_grad():
            return to_pixels(self.decode_pixels(latents), latents)

    def decode_pixels(self, latents: "Tensor") -> "Tensor":
        """Decode denoised latents, see `ModelFamily.decode_pixels`."""
        raise NotImplementedError

    def read_text_encoder(self, part: str = "text_encoder") -> Any:
        """Return a text encoder on the device, or on the CPU with `FamilyOptions.offload_text`."""
        return self.read(part, device="cpu" if self.options.offload_text else self.device)

    @contextmanager
    def text_encoders_on_device(self) -> Iterator[None]:
        """See `ModelFamily`."""
        with ExitStack() as present:
            for part in TEXT_ENCODERS:
                if hasattr(self, part):
                    present.enter_context(on_device(getattr(self, part), self.device))
            yield

    def read_vae(self, dtype: "torch.dtype | None" = None) -> Any:
        vae = self.read("vae", dtype)
        if self.options.tile_vae:
            vae.enable_tiling()
        return vae

    def encode_frames(self, frames: "np.ndarray") -> "Tensor":
        """See `ModelFamily`."""
        raise NotImplementedError

    def encode_pictures(self, pictures: "np.ndarray", places: Sequence[int], num_frames: int) -> "dict[str, Tensor]":
        """Return each picture encoded on its own: `pictures[B,C,N,h,w]` at the frames `picture_frames[B,N]`."""
        import torch

        singles = self.encode_frames(pictures.reshape(-1, 1, *pictures.shape[2:]))
        latents = singles[:, :, 0].unflatten(0, pictures.shape[:2]).transpose(1, 2)
        return {
            "pictures": latents,
            "picture_frames": torch.tensor(places, device=latents.device).expand(len(pictures), -1),
        }

    def noise(
        self,
        request: "GenerationRequest",
        generators: "Sequence[torch.Generator]",
        *,
        channels: int,
        strides: tuple[int, int],
        multiple: int,
    ) -> "Tensor":
        """Return unit-normal `float32[B,C,t,h,w]` for a VAE with `strides` (frames, px).

        Raises FamilyError when a side of the clip is not a multiple of `multiple` px.
        """
        stride, size = strides
        if (request.num_frames - 1) % stride or request.width % multiple or request.height % multiple:
            rule = f"{stride}k+1 frames" if stride > 1 else "any number of frames"
            raise FamilyError(
                f"This model needs {rule} and sides that are multiples of {multiple} px, but the request has "
                f"{request.num_frames} frames at {request.width}x{request.height}."
            )
        shape = (channels, (request.num_frames - 1) // stride + 1, request.height // size, request.width // size)
        return unit_noise(shape, generators).to(self.device)


def folder_needs(
    family: "type[DiffusersFamily]", overridden: Mapping[str, str] = NO_PARTS, variant: str | None = None
) -> Needs:
    """Return the files that a family's model folder must have.

    `overridden` are sources of parts. Such parts are left out, but for the configuration of those in a single file.
    """
    configs = (f"{part}/{CONFIG}" for part, source in overridden.items() if is_single_file(source))
    return Needs(
        parts=tuple(part for part in (*family.parts, "tokenizer") if part not in overridden),
        optional=family.optional_parts,
        files=(INDEX_FILE, *configs),
        variant=variant,
    )


def find_folder(source: str, needs: Needs) -> Path:
    """Return the folder of `source`: a folder on disk, or a hub id in the hub's cache.

    A hub id may have a revision after an @ ("owner/name@a1b2c3d": a commit, a tag or a branch). What the cache lacks of
    a hub model is downloaded only with DAILIES_ALLOW_DOWNLOAD=1. Raises FamilyError.
    """
    source = os.path.expanduser(source)
    if Path(source).is_dir():
        if INDEX_FILE in needs.files:
            refuse_loose_files(Path(source))
        return Path(source)
    refuse_file(source)
    if source.startswith(("/", ".", "~")) or source.count("/") != 1:
        raise FamilyError(
            f"There is no model folder '{source}': correct `source` in the preset, or put the model there."
        )
    return _from_hub(source, needs)


def find_file(source: str) -> Path:
    """Return the path of one file: a path on disk, or `owner/name/file` on the hub. Raises FamilyError."""
    if Path(source).is_file() or source.count("/") < 2:
        folder, name = Path(source).parent, Path(source).name
    else:
        owner, repository, name = source.split("/", 2)
        folder = find_folder(f"{owner}/{repository}", Needs(files=(name,)))
    if not (folder / name).is_file():
        raise FamilyError(f"There is no file '{source}': correct it in the preset, or put the file there.")
    return folder / name


def _from_hub(source: str, needs: Needs) -> Path:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    hub_source = HubSource.read(source)
    try:
        validate_repo_id(hub_source.repository)
    except HFValidationError as error:
        raise FamilyError(f"'{source}' is neither a folder nor a hub id such as 'owner/name'.") from error
    folder = hub_source.snapshot()
    if folder is not None and not missing_files(folder, needs):
        return folder
    if not is_automatic():
        raise FamilyError(
            f"'{source}' is neither a folder here nor in the hub's cache, and downloads are off: name a folder that "
            f"holds it in the preset, or set {ALLOW_DOWNLOAD}=1."
        )
    try:
        return download((plan_download(hub_source, needs),))[0]
    except HubError as error:
        raise FamilyError(f"'{source}' cannot be downloaded: {error}") from error


def check_parts(folder: Path, parts: Mapping[str, Classes]) -> None:
    """Raise FamilyError for a folder of another family.

    `parts` maps each subfolder to its allowed classes.
    """
    index = read_json(folder / "model_index.json")
    for part, expected in parts.items():
        entry = index.get(part)
        actual = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if actual is None:
            raise FamilyError(f"'{folder}' has no {part}: the model is incomplete, download it again.")
        if actual not in ((expected,) if isinstance(expected, str) else expected):
            pipeline = index.get("_class_name", "another family")
            needed = expected if isinstance(expected, str) else " or ".join(expected)
            raise FamilyError(
                f"'{folder}' belongs to another family ({pipeline}): its {part} is {actual}, but this family needs "
                f"{needed}. Correct `family` in the preset."
            )


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object of a model folder. Raises FamilyError."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FamilyError(f"'{path}' is missing or damaged ({error}): the folder is no diffusers model.") from error
    if not isinstance(table, dict):
        raise FamilyError(f"'{path}' holds no JSON object: the folder is no diffusers model.")
    return table


def read_network(model_class: Any, folder: Path, part: str, device: str, dtype: "torch.dtype") -> Any:
    """Return a diffusers or transformers network of the folder, in eval mode, frozen, on `device`.

    Raises FamilyError when the file is damaged, lacks tensors or contains a NaN (naming the tensor), or when memory is
    full.
    """
    from safetensors import SafetensorError

    where = f"{folder}/{part}"
    refuse_quantised(folder / part)
    options = {"dtype": dtype, "local_files_only": True, "variant": variant_of(folder / part)}
    try:
        network, info = model_class.from_pretrained(where, output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError, MemoryError, SafetensorError) as error:
        if is_memory_full(error):
            raise _no_room(where, sum(file.stat().st_size for file in Path(where).glob("*.*")), "cpu") from error
        why = " ".join(str(error).split())[:200]
        raise FamilyError(
            f"The weights in '{where}' cannot be read ({why}): download or train the model again."
        ) from error
    missing = sorted(str(key) for key in info["missing_keys"])
    if missing:
        raise FamilyError(f"The weights in '{where}' lack {len(missing)} tensors, the first is '{missing[0]}'.")
    refuse_dropped_layers(where, info.get("unexpected_keys", ()), network.state_dict())
    refuse_nan(network, where)
    network.requires_grad_(False)
    return move(network.eval(), device, where)


def read_tokenizer(folder: Path, part: str = "tokenizer") -> Any:
    """The tokenizer of a folder. Raises FamilyError."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder / part, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise FamilyError(f"The tokenizer in '{folder}/{part}' cannot be read: {error}") from error


def read_processor(folder: Path, part: str = "tokenizer") -> Any:
    """The processor of texts and pictures of a folder. Raises FamilyError."""
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(folder / part, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise FamilyError(f"The processor in '{folder}/{part}' cannot be read: {error}") from error


def read_image_processor(folder: Path, part: str = "image_processor") -> Any:
    """Return the preprocessor of an image encoder. Raises FamilyError."""
    import transformers

    _, name = read_json(folder / "model_index.json").get(part, (None, "CLIPImageProcessor"))
    try:
        return getattr(transformers, name).from_pretrained(folder / part, local_files_only=True)
    except (OSError, ValueError, ImportError, AttributeError, TypeError) as error:
        raise FamilyError(f"The image processor in '{folder}/{part}' cannot be read: {error}") from error


def text_fingerprint(folder: Path) -> str:
    """Return 16 hex digits that change with the files of the text encoding (their names, sizes and times)."""
    parts = [part for pattern in TEXT_FOLDERS for part in folder.glob(pattern)]
    files = sorted(file for part in parts for file in part.rglob("*") if file.is_file())
    stats = [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([str(folder.resolve()), stats]).encode()).hexdigest()[:16]


@contextmanager
def on_device(network: Any, device: str) -> Iterator[None]:
    """Move the network to `device` inside the block, then back; a no-op when it is there already."""
    home = network.device
    network.to(device)
    try:
        yield
    finally:
        network.to(home)


def move(network: Any, device: str, where: str) -> Any:
    """Move the network to `device`. Raises FamilyError with its size when the device's memory is full."""
    try:
        return network.to(device)
    except (RuntimeError, MemoryError) as error:
        if not is_memory_full(error):
            raise
        size = sum(tensor.nbytes for tensor in network.state_dict().values())
        raise _no_room(where, size, device) from error


def is_memory_full(error: BaseException) -> bool:
    """Return True for an out-of-memory error of a GPU, numpy, or torch on a CPU (which has no class)."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _no_room(where: str, size: int, device: str) -> FamilyError:
    return FamilyError(
        f"'{where}' needs {size / 2**30:.1f} GiB on {device}, more than is free there: free the device, or choose a "
        "smaller model."
    )
