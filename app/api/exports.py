"""Download of a campaign's preferred pairs or votes, for researchers only (see `app.auth.login`)."""

import shutil
from contextlib import ExitStack
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.background import BackgroundTask

from app.context import AppContext
from app.text import labelling as text
from engine.errors import ConfigError, DailiesError
from engine.labelling.campaigns import Campaigns
from engine.labelling.pair_exchange import LAYOUTS, Layout, export_pairs
from engine.labelling.preference_pairs import preference_pairs
from engine.labelling.vote_csv import export_votes
from engine.storage.temp_folders import temp_path
from rewards.errors import did_you_mean

VOTES = "votes"


def export_routes(context: AppContext) -> APIRouter:
    """Return the route `/voting/export/<campaign>/<layout>`.

    It serves a zip in a layout of `engine.labelling.pair_exchange`, or the votes as CSV.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/voting/export/{campaign_id}/{layout}")
    def export(campaign_id: str, layout: str) -> Response:
        folder = temp_path(context.workspace, "export")
        with ExitStack() as undo:
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            try:
                folder.mkdir(parents=True)
                path = write(Campaigns(context.store), campaign_id, layout, folder)
            except DailiesError as error:
                return HTMLResponse(str(error), 409, media_type="text/plain")
            except OSError as error:
                return HTMLResponse(text.not_exported(error), 507, media_type="text/plain")
            gone = BackgroundTask(undo.pop_all().close)
        return FileResponse(path, filename=path.name, background=gone, headers={"Cache-Control": "no-store"})

    return router


def write(campaigns: Campaigns, campaign_id: str, layout: str, folder: Path) -> Path:
    """Write the export as one file in `folder`. Raises DailiesError in one sentence."""
    campaign = campaigns.get(campaign_id)
    if layout == VOTES:
        path = folder / f"votes-{campaign.id}.csv"
        export_votes(campaigns, campaign.id, path)
        return path
    layouts: dict[str, Layout] = {name: name for name in LAYOUTS}
    if layout not in layouts:
        raise ConfigError(f"There is no layout '{layout[:40]}'. {did_you_mean(layout, [*LAYOUTS, VOTES])}")
    name = f"pairs-{campaign.id}-{layout}"
    pairs = preference_pairs(campaigns.votes(campaign.id))
    export_pairs(campaigns.store, pairs, folder / name, layouts[layout], campaign.title)
    return Path(shutil.make_archive(str(folder / name), "zip", folder, name))
