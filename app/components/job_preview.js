// The preview of a running job, in the place of a player (see engine/generation/previews.py): its picture holds some
// frames below each other, which play as one. Where the player is not shown, the preview is in the line of the job.
import { make, visible } from "../scripts/dom.js";

const FRAMES = 8, // of a picture
  LEAVE_MS = 4000; // the clips of a job that is done take its place; should there be none, it leaves after this time

export function jobPreview({ line, name, words }) {
  const sheet = make("div", { className: "sheet" }),
    caption = make("figcaption"),
    figure = make("figure", { className: "preview" }, sheet, caption);
  sheet.setAttribute("role", "img");
  let job = null, // whose picture is shown
    url = "",
    isWanted = true,
    leaving = null;

  function leave() {
    clearTimeout(leaving);
    job = leaving = null;
    url = "";
    figure.remove();
  }

  async function show(next) {
    const picture = new Image();
    url = picture.src = next.preview;
    const isThere = await picture.decode().then(
      () => true,
      () => false, // the job has just ended
    );
    if (!isThere || url !== next.preview) return;
    const { naturalWidth, naturalHeight } = picture;
    sheet.style.backgroundImage = `url("${url}")`;
    sheet.style.setProperty("--ratio", (naturalWidth * FRAMES) / naturalHeight);
    job = next.id;
    place();
  }

  function place() {
    const player = name && document.getElementById(`${name}-player`);
    if (!job || !isWanted) figure.remove();
    else if (!player || !visible(player.parentElement)) line.append(figure);
    else if (figure.nextSibling !== player) player.before(figure);
  }

  // `running` are the jobs that the line is about; `states` has how others ended, by id.
  function take(running, states) {
    const next = running.find(({ preview }) => preview);
    if (next && next.id !== job) isWanted = true;
    if (next && next.preview !== url) show(next);
    const shown = running.find(({ id }) => id === job);
    if (shown) {
      caption.textContent = shown.line;
      sheet.setAttribute("aria-label", words.preview_of.replace("{title}", shown.title));
      place();
    } else if (job && states.get(job) !== "done") leave();
    else if (job) leaving ??= setTimeout(leave, LEAVE_MS);
  }

  document.addEventListener("shown", ({ target }) => leaving && target.closest(`#${name}-player`) && leave(), true);
  document.addEventListener("click", ({ target }) => {
    if (!job || !target.closest?.(`#${name}-takes :is(.thumb, [data-do="compare"])`)) return;
    isWanted = false; // they look at another clip
    place();
  });

  return {
    take,
    isOf: (id) => id === job,
    isShown: () => isWanted,
    toggle() {
      isWanted = !isWanted;
      place();
    },
  };
}
