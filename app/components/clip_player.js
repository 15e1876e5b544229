// One to four clips in step. `props.value` = {clips: [{id, url, name, caption, num_frames, fps, width, height}],
// prefetch: [url], focus: bool}. The longest clip leads; the others follow its time and hold their last frame.
// Another script can extend the player through `element.player` (actions, state, show, key): see voting_panel.js.
import { listen } from "../scripts/dom.js";
import { keyMap, keyRow } from "../scripts/key_map.js";
import { onKey } from "../scripts/keyboard.js";
import { playerFiles } from "./player_files.js";

export default function mount({ element, props, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  const root = $(".player"),
    stage = $(".stage"),
    scrub = $(".scrub"),
    counter = $(".counter");
  const state = {
    clips: [],
    videos: [],
    leader: null,
    frames: 1,
    fps: 8,
    frame: 0,
    wanted: null,
    turn: 0,
    speed: 1,
    loop: true,
    view: "side",
    front: 0,
    zoom: 1,
    x: 50,
    y: 50,
    held: false,
  };
  const VIEWS = ["side", "flip", "wipe", "difference"],
    SPEEDS = [0.25, 0.5, 1, 2],
    ZOOMS = [1, 2, 4];
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
  const playing = () => Boolean(state.leader && !state.leader.paused && !state.leader.ended);

  const files = playerFiles();
  const RETRY_MS = 1000;

  // The clips' files, as soon as the server answers for each; null when something else is to be shown meanwhile.
  async function allOf(clips, turn) {
    let waits = false;
    while (turn === state.turn && element.isConnected) {
      const addresses = await Promise.all(clips.map((clip) => files.get(clip.url)));
      if (turn !== state.turn) break;
      const away = addresses.includes(undefined);
      root.classList.toggle("is-away", away);
      if (away !== waits) element.player.onAway((waits = away));
      if (!away) return addresses;
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
    if (waits) element.player.onAway(false);
    return null;
  }

  // ---- Showing
  const happened = (video, names) =>
    new Promise((resolve) => names.forEach((name) => video.addEventListener(name, resolve, { once: true })));

  function makeFigure() {
    const figure = document.createElement("figure");
    const frame = figure.appendChild(Object.assign(document.createElement("div"), { className: "frame" }));
    const video = frame.appendChild(document.createElement("video"));
    Object.assign(video, { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true });
    video.addEventListener("ended", () => video === state.leader && ended());
    const caption = figure.appendChild(document.createElement("figcaption"));
    caption.append(
      document.createElement("b"),
      Object.assign(document.createElement("span"), { className: "caption" }),
    );
    return figure;
  }

  function layOut(clips) {
    while (stage.children.length > clips.length) stage.lastElementChild.remove();
    while (stage.children.length < clips.length) stage.append(makeFigure());
    stage.style.setProperty("--columns", clips.length);
    stage.style.setProperty("--widest", Math.max(0, ...clips.map((clip) => clip.width / clip.height)));
    root.dataset.count = clips.length;
    root.classList.toggle("is-empty", clips.length === 0);
    clips.forEach((clip, index) => {
      const figure = stage.children[index];
      figure.style.setProperty("--ratio", clip.width / clip.height);
      figure.querySelector("figcaption b").textContent = clips.length > 1 ? "ABCD"[index] : (clip.name ?? "");
      Object.assign(figure.querySelector(".caption"), { textContent: clip.caption ?? "", title: clip.caption ?? "" });
      figure.querySelector(".lost")?.remove();
    });
  }

  function markLost(figure) {
    figure.querySelector("video").removeAttribute("src");
    figure
      .querySelector(".frame")
      .append(Object.assign(document.createElement("p"), { className: "lost", textContent: words.lost }));
  }

  async function open(figure, address) {
    const video = figure.querySelector("video");
    if (!address) return markLost(figure);
    if (video.getAttribute("src") === address) return;
    const ready = happened(video, ["canplay", "error"]);
    video.src = address;
    await ready;
    if (video.error) markLost(figure);
  }

  // Whether the clips are shown: not where others were asked for meanwhile.
  async function show(value) {
    const turn = ++state.turn,
      clips = value?.clips ?? [];
    files.keepOnly(new Set([...clips.map((clip) => clip.url), ...(value?.prefetch ?? [])]));
    const addresses = await allOf(clips, turn);
    if (!addresses) return false;
    layOut(clips);
    await Promise.all(addresses.map((address, index) => open(stage.children[index], address)));
    if (turn !== state.turn) return false;
    lead(clips);
    setView(clips.length > 1 ? state.view : "side");
    (value?.prefetch ?? []).forEach(files.get);
    element.dispatchEvent(new CustomEvent("shown", { detail: value }));
    if (props.reveals && clips.length) reveal();
    if (state.leader) await play(0);
    return turn === state.turn;
  }

  // Into view, and the keys with it: the button that was pressed to open it would keep the space bar for itself.
  function reveal() {
    root.scrollIntoView({ behavior: still.matches ? "auto" : "smooth", block: "center" });
    if (document.activeElement?.closest("button, a, input[type=checkbox]")) root.focus({ preventScroll: true });
  }

  // Files that will be wanted next, while what is shown stays.
  function prefetch(value) {
    files.keepOnly(new Set([...value.clips.map((clip) => clip.url), ...value.prefetch]));
    value.prefetch.forEach(files.get);
  }

  function lead(clips) {
    const pairs = clips.map((clip, index) => ({ clip, video: stage.children[index].querySelector("video") }));
    const alive = pairs.filter(({ video }) => video.getAttribute("src"));
    alive.sort((a, b) => b.clip.num_frames / b.clip.fps - a.clip.num_frames / a.clip.fps);
    state.clips = clips;
    state.videos = alive.map(({ clip, video }) =>
      Object.assign(video, { lastFrameAt: (clip.num_frames - 0.5) / clip.fps }),
    );
    state.leader = alive[0]?.video ?? null;
    state.frames = alive[0]?.clip.num_frames ?? 1;
    state.fps = alive[0]?.clip.fps ?? 8;
    scrub.max = state.frames - 1;
    watchFrames(state.leader, state.turn);
  }

  // ---- Time
  const timeOf = (frame) => (frame + 0.5) / state.fps; // the middle of a frame, so that rounding cannot miss it

  function moveTo(time) {
    return Promise.all(
      state.videos.map((video) => {
        const done = happened(video, ["seeked", "error"]);
        video.currentTime = Math.min(time, video.lastFrameAt);
        return done;
      }),
    );
  }

  async function play(frame = null) {
    if (!state.leader) return;
    state.wanted = null;
    const restart = frame ?? (state.leader.ended || state.frame >= state.frames - 1 ? 0 : null);
    const time = restart === null ? state.leader.currentTime : restart / state.fps;
    state.videos.forEach((video) => {
      video.playbackRate = state.speed;
      video.currentTime = Math.min(time, video.duration || 0);
    });
    await Promise.allSettled(state.videos.map((video) => video.play()));
    paint();
  }

  function pause() {
    state.videos.forEach((video) => video.pause());
    paint();
  }

  // The event may come after a frame was asked for, which is not at the end any more.
  function ended() {
    if (state.loop && state.leader.ended) play(0);
    else paint();
  }

  async function goTo(frame) {
    pause();
    const busy = state.wanted !== null;
    state.wanted = clamp(frame, 0, state.frames - 1);
    paintFrame(state.wanted);
    if (busy) return; // the loop below is running and sees the newest wish
    while (state.wanted !== null) {
      const next = state.wanted;
      await moveTo(timeOf(next));
      if (state.wanted === next) state.wanted = null;
    }
  }

  function watchFrames(video, turn) {
    video?.requestVideoFrameCallback((_, picture) => {
      if (turn !== state.turn || video !== state.leader) return;
      if (playing()) {
        paintFrame(clamp(Math.floor(picture.mediaTime * state.fps + 0.01), 0, state.frames - 1));
        catchUp();
      }
      watchFrames(video, turn);
    });
  }

  function catchUp() {
    for (const video of state.videos) {
      const target = Math.min(state.leader.currentTime, video.lastFrameAt);
      if (!video.ended && Math.abs(video.currentTime - target) > 1.5 / state.fps) video.currentTime = target;
    }
  }

  // ---- Looking
  function setView(view) {
    state.view = view;
    stage.dataset.view = view;
    [...stage.children].forEach((figure, index) =>
      figure.classList.toggle("is-front", index === state.front % stage.children.length),
    );
    paint();
  }

  function flip() {
    if (state.view === "flip") state.front = (state.front + 1) % Math.max(1, state.clips.length);
    else state.front = 0;
    setView("flip");
  }

  function setZoom(zoom) {
    state.zoom = zoom;
    stage.style.setProperty("--zoom", zoom);
    stage.classList.toggle("is-zoomed", zoom > 1);
    $(".zoom-level").textContent = zoom > 1 ? zoom + "×" : "";
  }

  function setSpeed(speed) {
    state.speed = speed;
    $(".speed").value = String(speed);
    state.videos.forEach((video) => (video.playbackRate = speed));
  }

  const nextOf = (list, value, by) => list[clamp(list.indexOf(value) + by, 0, list.length - 1)];

  // Where the line of the wipe stands and what is zoomed in on, in % of a picture: by pointer, finger or key.
  const AIM = 4;
  const aiming = (across) => state.zoom > 1 || (across && state.view === "wipe");

  function aim(x, y) {
    state.x = clamp(x, 0, 100);
    state.y = clamp(y, 0, 100);
    stage.style.setProperty("--x", state.x + "%");
    stage.style.setProperty("--y", state.y + "%");
    stage.style.setProperty("--wipe", state.x + "%");
  }

  let pressedAt = null;
  const moved = (event) =>
    pressedAt && Math.hypot(event.clientX - pressedAt.clientX, event.clientY - pressedAt.clientY) > 6;
  stage.addEventListener("pointerdown", (event) => (pressedAt = event));
  stage.addEventListener("pointermove", (event) => {
    const box = event.target.closest(".frame")?.getBoundingClientRect();
    if (box) aim(((event.clientX - box.left) / box.width) * 100, ((event.clientY - box.top) / box.height) * 100);
  });
  stage.addEventListener("click", (event) => state.view !== "wipe" && !moved(event) && run("play"));

  // ---- What can be done, and by which key; a person's own keys are kept in the browser.
  const actions = {
    play: { key: " ", run: () => (playing() ? pause() : play()) },
    back: { key: "ArrowLeft", repeats: true, run: () => goTo((state.wanted ?? state.frame) - 1) },
    forward: { key: "ArrowRight", repeats: true, run: () => goTo((state.wanted ?? state.frame) + 1) },
    replay: { key: "r", run: () => play(0) },
    loop: {
      key: "l",
      run: () => {
        state.loop = !state.loop;
        paint();
      },
    },
    slower: { key: "[", run: () => setSpeed(nextOf(SPEEDS, state.speed, -1)) },
    faster: { key: "]", run: () => setSpeed(nextOf(SPEEDS, state.speed, 1)) },
    zoom: { key: "z", run: () => setZoom(ZOOMS[(ZOOMS.indexOf(state.zoom) + 1) % ZOOMS.length]) },
    side: { key: "s", pairs: true, run: () => setView("side") },
    flip: { key: "f", pairs: true, run: flip },
    wipe: { key: "w", pairs: true, run: () => setView("wipe") },
    difference: { key: "d", pairs: true, run: () => setView("difference") },
    aim_left: { key: ",", repeats: true, now: () => aiming(true), run: () => aim(state.x - AIM, state.y) },
    aim_right: { key: ".", repeats: true, now: () => aiming(true), run: () => aim(state.x + AIM, state.y) },
    aim_up: { key: "ArrowUp", repeats: true, now: () => aiming(false), run: () => aim(state.x, state.y - AIM) },
    aim_down: { key: "ArrowDown", repeats: true, now: () => aiming(false), run: () => aim(state.x, state.y + AIM) },
  };

  const keys = keyMap(actions); // {of(action), set(action, key), name(key)}

  function run(name) {
    const action = actions[name];
    if (!action || (action.pairs && state.clips.length < 2) || (action.now && !action.now())) return false;
    action.run();
    return true;
  }

  function key(pressed, repeated) {
    const name = Object.keys(actions).find((candidate) => keys.of(candidate) === pressed);
    return Boolean(name) && (!repeated || Boolean(actions[name].repeats)) && run(name);
  }

  onKey(element, key);
  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-action]");
    if (button) run(button.dataset.action);
  });
  scrub.addEventListener("input", () => goTo(Number(scrub.value)));
  $(".speed").addEventListener("change", (event) => setSpeed(Number(event.target.value)));

  const labelOf = (name) => actions[name].label ?? words.actions[name] ?? name; // an extension brings its labels along

  function paintKeys() {
    for (const button of root.querySelectorAll("[data-action]")) {
      const name = button.dataset.action,
        label = labelOf(name);
      button.title = label + " (" + keys.name(keys.of(name)) + ")";
      button.setAttribute("aria-label", label);
      button.setAttribute("aria-keyshortcuts", keys.name(keys.of(name)));
    }
    $(".keyrows").replaceChildren(...Object.keys(actions).map((name) => keyRow(labelOf(name), keys, name, paintKeys)));
    element.player?.onPaintKeys();
  }

  // ---- Painting
  function paint() {
    root.classList.toggle("is-playing", playing());
    $('[data-action="loop"]').setAttribute("aria-pressed", state.loop);
    for (const view of VIEWS) $('[data-action="' + view + '"]').setAttribute("aria-pressed", state.view === view);
  }

  function paintFrame(frame) {
    state.frame = frame;
    scrub.value = frame;
    counter.textContent = words.frame
      .replace("{frame}", frame + 1)
      .replace("{frames}", state.frames)
      .replace("{seconds}", (frame / state.fps).toFixed(2));
    document.dispatchEvent(
      new CustomEvent("dailies:frame", { detail: { player: props.name, frame, frames: state.frames } }),
    );
  }

  // ---- Pause while out of sight.
  function seen(visible) {
    if (!visible && playing()) {
      state.held = true;
      pause();
    } else if (visible && state.held) {
      state.held = false;
      play();
    }
  }
  new IntersectionObserver((entries) => seen(entries.at(-1).isIntersecting && !document.hidden)).observe(root);
  listen(element, "visibilitychange", () => seen(!document.hidden && element.offsetParent !== null));
  listen(element, "dailies:keys", paintKeys);
  listen(element, "dailies:seek", (event) => event.detail.player === props.name && goTo(event.detail.frame));

  element.player = {
    actions,
    keys,
    state,
    show,
    prefetch,
    setView,
    run,
    key,
    goTo,
    paintKeys,
    onPaintKeys: () => {},
    onAway: () => {},
  };
  paintKeys();
  // A value without clips is not for the player but for what extends it.
  const told = () => (!props.value || props.value.clips) && show(props.value);
  watch("value", told);
  told();
}
