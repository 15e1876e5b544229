"""Values of the components that show clips: plain dictionaries, made from clip records."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from app.text import general, score
from engine.errors import StoreError
from engine.storage.clip_files import overlay_folder
from engine.storage.library import ClipRecord
from engine.workspace import Workspace

NEED_A_REQUEST = ("again", "new_seed", "use_settings")
MP4, POSTER, FRAMES = "clip.mp4", "poster.jpg", "frames.mkv"


def media_url(clip_id: str, name: str) -> str:
    return f"/media/clips/{clip_id}/{name}"


def permalink(clip_id: str) -> str:
    return f"/clip/{clip_id}"


def overlays(workspace: Workspace, clip_id: str) -> dict[str, Path]:
    """Return the overlays of a clip by "reward.name"; empty if there is no such clip."""
    try:
        folder = overlay_folder(workspace, clip_id)
    except StoreError:
        return {}
    return {path.stem: path for path in sorted(folder.glob("[!.]*.mp4"))}


def card(record: ClipRecord, name: str = "") -> dict[str, Any]:
    """Return one card of a grid."""
    return {
        "id": record.id,
        "name": name,
        "prompt": record.prompt or record.file or "",
        "poster": media_url(record.id, POSTER),
        "video": media_url(record.id, MP4),
        "link": permalink(record.id),
        "score": general.score(record.total),
        "level": record.total,
        "tag": joined([general.IMPORTED if record.source == "imported" else "", unranked(record)]),
        "starred": record.starred,
        "detail": joined([made_by(record), general.seed(record.seed) if name else f"{record.num_frames} frames"]),
    }


def unranked(record: ClipRecord) -> str:
    """Return the tag of a clip whose score is not comparable with others; its remarks give the reason."""
    return score.UNRANKED if record.mix is not None and record.total is None else ""


def player(records: Sequence[ClipRecord], prefetch: Sequence[ClipRecord] = ()) -> dict[str, Any]:
    """Return the value of a `ClipPlayer`; `prefetch` are clips that are likely to be played next."""
    return {
        "clips": [_played(record, words) for record, words in zip(records, captions(records), strict=True)],
        "prefetch": [media_url(record.id, MP4) for record in prefetch],
    }


def with_overlay(record: ClipRecord, name: str) -> dict[str, Any]:
    """Return the player value for a clip and one of its overlays, synchronised."""
    clip = _played(record, captions([record])[0])
    seen = {**clip, "id": f"{record.id}/{name}", "url": media_url(record.id, f"overlays/{name}.mp4")}
    return {"clips": [clip, {**seen, "caption": general.overlay(name)}], "prefetch": []}


def made_by(record: ClipRecord) -> str:
    """Return model and adapter of a clip; "" for an imported one."""
    return " + ".join(name for name in (record.model, record.adapter) if name)


def captions(records: Sequence[ClipRecord]) -> list[str]:
    """Return captions that distinguish the clips of a player: model, adapters and seed.

    For several clips, add the total and every setting in which they differ. The details of a single clip have the rest.
    Next to clips with adapters, one without is said to be the base model's.
    """
    bases = [record.model is not None and not record.adapter for record in records]
    among = any(record.adapter for record in records)
    basics = [
        [general.of_base(made_by(record)) if base and among else made_by(record), general.seed(record.seed)]
        for record, base in zip(records, bases, strict=True)
    ]
    if len(records) < 2:
        return [joined(parts) for parts in basics]
    settings = [_settings(record) for record in records]
    differing = [name for name in settings[0] if len({clip_settings[name] for clip_settings in settings}) > 1]
    differences = [
        [f"{general.FACTS.get(name, name)}: {clip_settings[name] or general.NONE}" for name in differing]
        for clip_settings in settings
    ]
    return [
        joined([general.score(record.total), *parts, *difference])
        for record, parts, difference in zip(records, basics, differences, strict=True)
    ]


def joined(words: Sequence[str]) -> str:
    return "  ·  ".join(word for word in words if word)


def _settings(record: ClipRecord) -> dict[str, str]:
    """Return the settings of a clip that are not always part of its caption."""
    rows = _rows(record)
    named = ("size", "length", "num_steps", "guidance", "negative_prompt", "mode")
    return {"prompt": f"“{record.prompt}”", **{name: rows.get(name, "") for name in named}}


def _played(record: ClipRecord, caption: str) -> dict[str, Any]:
    return {
        "id": record.id,
        "url": media_url(record.id, MP4),
        "caption": caption,
        "num_frames": record.num_frames,
        "fps": record.fps,
        "width": record.width,
        "height": record.height,
    }


def facts(record: ClipRecord, actions: Sequence[str], remarks: Sequence[str] = ()) -> dict[str, Any]:
    """Return the value of a `ClipDetails`; `actions` are keys of `general.ACTIONS`.

    `remarks` are sentences about the score. An imported clip has no settings, so actions that need them are omitted.
    """
    return {
        "id": record.id,
        "prompt": record.prompt,
        "total": general.score(record.total) or unranked(record) or general.NOT_SCORED,
        "scored": record.total is not None,
        "starred": record.starred,
        "rows": [[general.FACTS[key], value] for key, value in _rows(record).items() if value],
        "remarks": [*record.notes, *remarks],
        "request": record.request,
        "links": {
            "permalink": permalink(record.id),
            "mp4": media_url(record.id, MP4),
            "frames": media_url(record.id, FRAMES),
        },
        "actions": [
            [key, _label(record, key), general.ACTION_HINTS.get(key, "")] for key in actions if _can(record, key)
        ],
    }


def _can(record: ClipRecord, action: str) -> bool:
    if action == "compare_base":
        return record.adapter is not None
    return record.request is not None or action not in NEED_A_REQUEST


def _label(record: ClipRecord, action: str) -> str:
    """Return the label of an action, which depends on whether the clip is scored or starred."""
    scored = general.ACTIONS_ONCE_SCORED if record.mix else {}
    starred = general.ACTIONS_ONCE_STARRED if record.starred else {}
    return {**general.ACTIONS, **scored, **starred}[action]


def _rows(record: ClipRecord) -> dict[str, str]:
    request = record.request or {}
    steps, guidance = request.get("num_steps"), request.get("guidance")
    return {
        "model": record.model or general.IMPORTED,
        "file": record.file or "",
        "adapter": record.adapter or "",
        "seed": "" if record.seed is None else str(record.seed),
        "size": f"{record.width} × {record.height} px",
        "length": general.length(record.num_frames, record.fps),
        "num_steps": "" if steps is None else str(steps),
        "guidance": "" if guidance is None else f"{guidance:g}",
        "mode": str(request.get("mode", "")) if request.get("mode") != "direct" else "",
        "negative_prompt": str(request.get("negative_prompt", "")),
        "mix": record.mix or "",
        "created": moment(record.created_at),
        "id": record.id,
    }


def moment(when: datetime) -> str:
    """Format a time in the server's time zone, with its name."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M %Z")
