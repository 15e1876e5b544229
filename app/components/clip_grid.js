// A grid of clips. `props.value` = {cards: [{id, name, prompt, poster, video, link, score, tag, detail, starred}],
// current: id, page, pages, first, last, total, undo: {ids, sentence} | null, empty: {title, hint} | null}.
// `props.mode` is "library" or "takes". With `axes` [{title, values}], of columns and rows, takes are a table by them, in
// which a clip that does not exist is null; `job` is its address. `ready` {ids, sentence} are jobs whose clips wait to be
// shown. Events: see `tell` below; each carries what it is about.
import { followShown, setAddress, setShown, shownAt } from "../scripts/address.js";
import { fill, listen, make, stamp } from "../scripts/dom.js";
import { composes, pressed } from "../scripts/keyboard.js";

export default function mount({ element, trigger, props, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  const root = $(".grid"),
    cards = $(".cards");
  const chosen = new Set(); // ids, in the order in which they were chosen; kept from page to page
  let last = null; // the clip whose box was clicked last
  let current = null; // the clip that was opened last
  let refocus = null; // a selector: gets the focus after the cards are rebuilt, where the focused one is removed
  const HOVER_MS = 120,
    COMPARED = 4;
  const GENERATE = props.mode === "takes" && "generate"; // the tab whose address has the opened clip
  let automatic = null; // the clip that was shown last without a press
  let wanted = shownAt(GENERATE); // the clip of the address at the beginning
  root.classList.toggle("is-takes", props.mode === "takes");

  const tell = {
    open: (id) => {
      current = id;
      setShown(GENERATE, id, true);
      paint();
      trigger("open_clip", { id });
    },
    star: (id) => trigger("star_clip", { ids: [id], starred: !shownClip(id).starred }),
    star_chosen: () => trigger("star_clip", { ids: [...chosen], starred: !allStarred() }),
    compare: () => {
      setShown(GENERATE, null, true);
      trigger("compare", { ids: [...chosen] });
    },
    label: () => {
      trigger("label_these", { ids: [...chosen] });
      choose();
    },
    remove: () => {
      refocus = '[data-do="undo"]';
      trigger("remove_clips", { ids: [...chosen] });
      choose();
    },
    undo: () => {
      refocus = thumbOf(props.value.undo.ids[0]);
      trigger("undo_removal", { ids: props.value.undo.ids });
    },
    ready: () => trigger("show_ready", { ids: props.value.ready.ids }),
    previous: () => trigger("turn_page", { page: props.value.page - 1 }),
    next: () => trigger("turn_page", { page: props.value.page + 1 }),
    select_all: () => {
      for (const card of all()) chosen.add(card.dataset.id);
      paint();
    },
    clear: () => {
      const [first] = chosen;
      choose();
      $(thumbOf(first))?.focus();
    },
  };

  const thumbOf = (id) => `.card[data-id="${id}"] .thumb`;
  const allStarred = () => [...chosen].every((id) => shownClip(id)?.starred);
  const shownClip = (id) => props.value.cards.find((candidate) => candidate?.id === id);

  // ---- Showing
  function makeCard(clip) {
    const card = stamp($("template"));
    const shown = {
      ...clip,
      prompt: props.mode === "takes" ? clip.name : clip.prompt,
      score: clip.score || words.unscored,
    };
    fill(card, shown);
    card.querySelector(".detail").title = shown.detail ?? "";
    card.dataset.id = clip.id;
    card.querySelector(".score").classList.toggle("is-none", !clip.score);
    card.querySelector(".thumb").href = clip.link;
    card
      .querySelector(".thumb")
      .setAttribute("aria-label", [clip.name, clip.prompt, shown.score].filter(Boolean).join(", "));
    card.querySelector(".thumb").title = clip.prompt;
    card.querySelector("img").src = clip.poster;
    const star = card.querySelector(".star");
    star.setAttribute("aria-pressed", clip.starred);
    star.title = star.ariaLabel = clip.starred ? words.unstar : words.star;
    card.querySelector("input").setAttribute("aria-label", words.select + ": " + (clip.name || clip.prompt));
    return card;
  }

  // Cells row by row below the columns' names, each row after its own.
  function makeTable([columns, rows], list) {
    const name = (text, role) => make("div", { className: `axis is-${role}`, textContent: text, title: text });
    const cell = (clip) => (clip ? makeCard(clip) : make("div", { className: "missing" }));
    const width = columns.values.length;
    root.style.setProperty("--columns", width);
    return [
      name(`${rows.title} / ${columns.title}`, "corner"),
      ...columns.values.map((value) => name(value, "column")),
      ...rows.values.flatMap((value, index) => [
        name(value, "row"),
        ...list.slice(index * width, (index + 1) * width).map(cell),
      ]),
    ];
  }

  const all = () => [...cards.querySelectorAll(".card")];

  // The same thing on the same clip's new card. A take that was opened by pointer leaves its keys to the player.
  function focused() {
    const at = document.activeElement,
      card = at?.closest(".card");
    if (!card || !cards.contains(card) || (at.matches(".thumb") && !at.matches(":focus-visible"))) return null;
    const part = [".thumb", ".star", "input"].find((one) => at.matches(one));
    return part ? `.card[data-id="${card.dataset.id}"] ${part}` : null;
  }

  function show(value) {
    const axes = value?.axes ?? [],
      made = value?.cards ?? [],
      list = made.filter(Boolean),
      free = [null, document.body].includes(document.activeElement);
    const next = (free || element.contains(document.activeElement) ? refocus : null) ?? focused();
    refocus = null;
    current = value?.current ?? current;
    if (props.mode === "takes") for (const id of chosen) if (!list.some((clip) => clip.id === id)) chosen.delete(id);
    root.classList.toggle("is-table", axes.length === 2);
    root.classList.toggle("is-list", axes.length === 1);
    cards.replaceChildren(...(axes.length === 2 ? makeTable(axes, made) : list.map(makeCard)));
    if (props.mode === "takes" && value?.cards) showAddress(value);
    $(".empty").hidden = !value?.empty;
    fill($(".empty"), value?.empty ?? {});
    $(".undo-bar").hidden = !value?.undo;
    fill($(".undo-bar"), { undo: value?.undo?.sentence });
    $(".ready-bar").hidden = !value?.ready;
    $(".ready-bar span").textContent = value?.ready?.sentence ?? "";
    showPager(value ?? {});
    paint();
    if (next) $(next)?.focus({ preventScroll: true });
  }

  // What is shown without a press has no address of its own: a reload shows it, or what is newer.
  function showAddress(value) {
    setAddress({ sweep: value.job ?? null });
    if (!value.opened_at) {
      automatic = value.current;
      setShown(GENERATE, wanted);
      if (wanted) trigger("open_clip", { id: wanted });
    }
    wanted = null;
  }

  function showPager({ pages = 0, page = 0, first, last, total }) {
    $(".pager").hidden = pages < 2;
    $('[data-do="previous"]').disabled = page <= 0;
    $('[data-do="next"]').disabled = page >= pages - 1;
    const number = (count) => Number(count ?? 0).toLocaleString("en");
    $(".range").textContent = words.range
      .replace("{first}", number(first))
      .replace("{last}", number(last))
      .replace("{total}", number(total));
  }

  // ---- Choosing
  function choose(id = null, wanted = false) {
    if (id === null) chosen.clear();
    else if (wanted) chosen.add(id);
    else chosen.delete(id);
    paint();
  }

  function paint() {
    for (const card of all()) {
      card.classList.toggle("is-chosen", chosen.has(card.dataset.id));
      card.classList.toggle("is-current", card.dataset.id === current);
      card.querySelector("input").checked = chosen.has(card.dataset.id);
    }
    root.classList.toggle("is-choosing", chosen.size > 0);
    $(".chosen-bar").hidden = chosen.size === 0;
    $(".chosen-count").textContent = words.chosen.replace("{count}", chosen.size);
    $('[data-do="compare"]').disabled = chosen.size < 2 || chosen.size > COMPARED;
    $('[data-do="label"]').disabled = chosen.size < 2;
    $('[data-do="star_chosen"]').textContent = allStarred() ? words.unstar : words.star;
    $('[data-do="remove"]').hidden = props.mode === "takes";
  }

  // ---- Playing while the pointer or the focus rests on a card
  function preview(card) {
    const clip = shownClip(card.dataset.id);
    const video = Object.assign(document.createElement("video"), {
      muted: true,
      loop: true,
      playsInline: true,
      src: clip.video,
    });
    card.querySelector(".thumb").append(video);
    video.play().catch(() => video.remove()); // moved away before it began, or the file is gone: the poster stays
  }

  function rest(card) {
    clearTimeout(card.waiting);
    card.querySelector("video")?.remove();
  }

  function visit(card) {
    rest(card);
    card.waiting = setTimeout(() => card.isConnected && preview(card), HOVER_MS);
  }

  for (const [type, act] of [
    ["pointerover", visit],
    ["focusin", visit],
    ["pointerout", rest],
    ["focusout", rest],
  ]) {
    cards.addEventListener(type, (event) => {
      const card = event.target.closest(".card");
      if (card && !card.contains(event.relatedTarget)) act(card);
    });
  }

  // ---- Actions
  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]"),
      thumb = event.target.closest(".thumb");
    if (button) tell[button.dataset.do](button.closest(".card")?.dataset.id);
    if (!thumb || event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab gets the permalink
    event.preventDefault();
    tell.open(thumb.closest(".card").dataset.id);
  });
  cards.addEventListener("change", (event) => choose(event.target.closest(".card").dataset.id, event.target.checked));

  // Shift chooses all cards from the one that was chosen last.
  cards.addEventListener("click", (event) => {
    const pick = event.target.closest(".pick input");
    if (!pick) return;
    const place = all().indexOf(pick.closest(".card")),
      from = event.shiftKey ? all().findIndex((card) => card.dataset.id === last) : -1;
    const isWanted = pick.checked; // painting changes it
    last = all()[place].dataset.id;
    if (from < 0) return;
    const range = all().slice(Math.min(from, place), Math.max(from, place) + 1);
    for (const card of range) choose(card.dataset.id, isWanted);
  });

  // The clip before or after the one that is open, on this page.
  listen(element, "dailies:neighbour", ({ detail: { grid, by } }) => {
    if (grid !== props.name) return;
    const list = all(),
      next = list[list.findIndex((card) => card.dataset.id === current) + by];
    if (!next || !list.some((card) => card.dataset.id === current)) return;
    tell.open(next.dataset.id);
    next.scrollIntoView({ block: "nearest" });
  });

  function columns() {
    const top = all()[0]?.offsetTop;
    return all().filter((card) => card.offsetTop === top).length || 1;
  }

  const MOVES = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: () => -columns(), ArrowDown: () => columns() };
  cards.addEventListener("keydown", (event) => {
    const card = event.target.closest(".card"),
      place = all().indexOf(card);
    if (!card || composes(event) || event.altKey) return;
    const isAll = (event.ctrlKey || event.metaKey) && pressed(event).includes("a");
    if ((event.ctrlKey || event.metaKey) && !isAll) return;
    if (isAll) tell.select_all();
    else if (event.key in MOVES) all()[place + MOVES[event.key]()]?.querySelector(".thumb").focus();
    else if (pressed(event).includes("x") || (event.key === " " && event.target.matches(".thumb")))
      choose(card.dataset.id, !chosen.has(card.dataset.id));
    else if (event.key === "Delete" && chosen.size && props.mode !== "takes") tell.remove();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  if (GENERATE)
    followShown(element, GENERATE, (id) => (id ?? automatic) && trigger("open_clip", { id: id ?? automatic }));
  watch("value", () => show(props.value));
  show(props.value);
}
