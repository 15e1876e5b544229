// Table of runs, and curves of several. Asks `server.news({runs, axis, have, looked, facts})` for what is new, only while
// visible. Events:
// "look_at" {id}: a run was chosen; "sets_changed" {id}: it has more samples, or has ended.
import { addressOf, followAddress, setAddress } from "../scripts/address.js";
import { listen, make, visible } from "../scripts/dom.js";
import { canvasPng, plotFiles } from "../scripts/plot_files.js";
import { poll, reach } from "../scripts/server.js";
import { readJson, storage } from "../scripts/storage.js";
import { takeWantedRun } from "../scripts/wanted_run.js";
import { LEFT, paintChart, placeOf, RIGHT, valueOf } from "./chart_canvas.js";
import { curveBar } from "./curve_bar.js";
import { nearest, short, smoothed, withPart } from "./curve_data.js";
import { runTable } from "./run_table.js";

export default function mount({ element, trigger, props, server }) {
  const { words, colours } = props;
  const $ = (selector) => element.querySelector(selector);
  const ASK_MS = 2000,
    BUSY_MS = 60;
  const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
  const KEPT = "dailies.monitor",
    CURVES = "curves";
  const state = {
    runs: [],
    facts: {},
    digest: "",
    order: null,
    search: "",
    chosen: null,
    looked: addressOf("run"),
    axis: "step",
    smoothing: 0,
    log: false,
    metric: "",
    view: CURVES,
    grouping: "",
    deleted: [],
    groups: [],
    alarms: {},
    sets: null,
    series: new Map(),
    asks: 0,
    hover: null,
    ...readJson(KEPT),
  };
  const charts = new Map(); // metric -> {figure, canvas, name}
  let left = 0, // bytes of metrics that the server has yet to read
    generation = 0;

  function keep() {
    const { chosen, axis, smoothing, log, metric, view, order, search, grouping } = state;
    storage.set(KEPT, JSON.stringify({ chosen, axis, smoothing, log, metric, view, order, search, grouping }));
  }

  // ---- Asking
  const schedule = poll(element, ask, () => (left ? BUSY_MS : ASK_MS));

  async function ask() {
    const of = generation;
    const have = Object.fromEntries([...state.series].map(([run, one]) => [run, [one.epoch, one.step]]));
    state.asks += 1;
    const { chosen: runs, axis, looked, digest: facts } = state;
    const news = await reach(server, "news", { runs, axis, have, looked, facts });
    if (element.isConnected && of === generation) take(news);
  }

  function again() {
    // another choice: what is under way is dropped
    generation += 1;
    keep();
    schedule(0);
  }

  // ---- Taking news in
  function take(news) {
    left = news.left ?? 0;
    say(news.problem ?? (left ? words.reading.replace("{left}", Math.ceil(left / 1e6)) : ""));
    if (news.problem) return;
    if (forget(news.runs)) return again();
    if (state.chosen === null) state.chosen = news.chosen;
    state.runs = news.runs;
    state.digest = news.digest;
    state.facts = news.facts ?? state.facts;
    state.alarms = news.alarms;
    state.deleted = news.deleted;
    for (const run of state.series.keys()) if (!news.chosen.includes(run)) state.series.delete(run);
    for (const [run, part] of Object.entries(news.series)) state.series.set(run, withPart(state.series.get(run), part));
    const grouped = JSON.stringify(news.groups);
    if (grouped !== state.grouped) {
      state.grouped = grouped;
      layOut(news.groups);
      bar.filter();
    }
    table.paint();
    paintAlarms();
    paintEmpty(news);
    paintAll();
    look(news.looked, news.sets);
  }

  // Runs that this browser keeps as chosen and that are gone are chosen no more; where all are gone, the server chooses.
  function forget(runs) {
    const there = new Set(runs.map((run) => run.id)),
      known = (state.chosen ?? []).filter((run) => there.has(run));
    if (known.length === (state.chosen ?? []).length) return false;
    state.chosen = known.length ? known : null;
    return true;
  }

  // The ticked runs whose samples and evaluation are shown with those of the run that is looked at.
  const others = () => (state.chosen ?? []).filter((run) => run !== state.looked);

  function look(run, sets, step = false) {
    if (run !== state.looked) {
      state.looked = run;
      state.sets = sets;
      table.paint();
      setAddress({ run }, step);
      if (run) trigger("look_at", { id: run, with: others() });
    } else if (sets !== state.sets) {
      state.sets = sets;
      if (run) trigger("sets_changed", { id: run, with: others() });
    }
  }

  // ---- The table
  const say = (sentence) => {
    $(".said").textContent = sentence;
  };
  const table = runTable({ element, words, state, server, keep, colourOf: (run) => colourOf(run), say, again });

  const nameOf = (run) => state.facts[run]?.name || run;

  // ---- Layout
  const colourOf = (run) => colours[Math.max(0, state.chosen.indexOf(run)) % colours.length];
  const dashOf = (run) => DASHES[Math.floor(Math.max(0, state.chosen.indexOf(run)) / colours.length) % DASHES.length];

  function layOut(groups) {
    const known = new Set([...element.querySelectorAll(".group")].map((group) => group.dataset.key));
    const closed = new Set([...element.querySelectorAll(".group:not([open])")].map((group) => group.dataset.key));
    charts.clear();
    $(".groups").replaceChildren(
      ...groups.map((group) => {
        const box = make("details", { className: "group" });
        box.dataset.key = group.key;
        box.open = known.has(group.key) ? !closed.has(group.key) : !words.closed.includes(group.key);
        box.addEventListener("toggle", paintAll);
        const grid = make("div", { className: "charts" });
        grid.append(...group.charts.map(makeChart));
        box.append(make("summary", {}, group.title), grid);
        return box;
      }),
    );
    element.querySelectorAll(".chart").forEach((figure) => seen.observe(figure));
  }

  function makeChart({ name, title }) {
    const figure = make("figure", { className: "chart" }),
      caption = make("figcaption"),
      canvas = make("canvas");
    figure.dataset.metric = name;
    const files = plotFiles(
      () => name.replaceAll("/", "-"),
      () => pictureOf({ name, title, canvas }),
      () => numbersOf(name),
    );
    const larger = make(
      "button",
      { type: "button", className: "larger", title: words.larger, ariaLabel: words.larger },
      "⤢",
    );
    larger.addEventListener("click", () => {
      figure.classList.toggle("is-large");
      paint(charts.get(name));
    });
    caption.append(make("span", { className: "title" }, title), files, larger, make("span", { className: "now" }));
    canvas.setAttribute("role", "img");
    const tip = make("div", { className: "tip", hidden: true });
    figure.append(caption, canvas, tip);
    const chart = { name, title, figure, canvas, tip, inView: false };
    canvas.addEventListener("pointermove", (event) => hover(chart, event));
    canvas.addEventListener("pointerleave", () => hover(null));
    charts.set(name, chart);
    return figure;
  }

  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const chart = charts.get(entry.target.dataset.metric);
        if (!chart) continue;
        chart.inView = entry.isIntersecting;
        if (chart.inView) paint(chart);
      }
    },
    { rootMargin: "200px" },
  );
  new ResizeObserver(() => requestAnimationFrame(paintAll)).observe($(".main"));

  // ---- Painting lists
  function paintAlarms() {
    const all = Object.entries(state.alarms).flatMap(([run, found]) => found.map((alarm) => ({ run, ...alarm })));
    $('[data-view="alarms"] .number').textContent = all.length ? ` (${all.length})` : "";
    $(".alarms p").hidden = all.length > 0;
    $(".alarms ul").replaceChildren(
      ...all.map(({ run, step, sentence }) =>
        make(
          "li",
          {},
          words.alarm.replace("{step}", step).replace("{run}", nameOf(run)).replace("{sentence}", sentence),
        ),
      ),
    );
  }

  function paintEmpty(news) {
    const words_ =
      news.empty ??
      (state.chosen.length === 0
        ? { title: words.pick, hint: "" }
        : news.groups.length
          ? null
          : { title: words.waiting, hint: "" });
    $(".empty").hidden = !words_;
    $(".empty h3").textContent = words_?.title ?? "";
    $(".empty p").textContent = words_?.hint ?? "";
  }

  // ---- Lines
  function linesOf(name) {
    return (state.chosen ?? []).flatMap((run) => {
      const points = state.series.get(run)?.data.get(name);
      return points ? [{ run, x: points[0], y: smoothed(points[1], state.smoothing) }] : [];
    });
  }

  // Every point of a metric, not only those that are drawn, and what the smoothing makes of it.
  async function numbersOf(name) {
    const found = await reach(server, "points", { runs: state.chosen, name, axis: state.axis });
    if (found.problem) return say(found.problem);
    const rows = Object.entries(found).flatMap(([run, [x, y]]) => {
      const means = smoothed(y, state.smoothing);
      return x.map((at, index) => [run, at, y[index], means[index]]);
    });
    return [["run", state.axis === "time" ? "minutes" : state.axis, name, "smoothed"], ...rows];
  }

  function pictureOf({ name, title, canvas }) {
    const lines = linesOf(name).map(({ run }) => ({ name: run, colour: colourOf(run), dash: dashOf(run) }));
    const smoothing = state.smoothing ? `, ${words.smoothing} ${Number(state.smoothing).toFixed(2)}` : "";
    return canvasPng(canvas, title + smoothing, lines);
  }

  const paint = (chart) =>
    chart.canvas.clientWidth &&
    paintChart(chart, { state, lines: linesOf(chart.name), colourOf, dashOf, axes: words.axes });

  function paintAll() {
    charts.forEach((chart) => chart.inView && paint(chart));
  }

  // ---- Hovering: one place on the axis, in all charts
  function hover(chart, event) {
    if (!chart?.box) state.hover = null;
    else {
      const share = (event.offsetX - LEFT) / (chart.canvas.clientWidth - LEFT - RIGHT);
      state.hover = chart.box.left + Math.max(0, Math.min(1, share)) * (chart.box.right - chart.box.left);
    }
    charts.forEach((other) => {
      other.tip.hidden = other !== chart || state.hover === null;
    });
    if (state.hover !== null) showTip(chart);
    paintAll();
  }

  function showTip(chart) {
    const at = state.axis === "time" ? short(state.hover) : Math.round(state.hover),
      place = `${words.axes[state.axis]} ${at}`;
    const rows = chart.lines.slice(0, 8).map(({ run, x, y }) => {
      const swatch = make("i");
      swatch.style.background = colourOf(run);
      return make("div", {}, swatch, short(valueOf(chart, y[nearest(x, state.hover)])) + "  " + nameOf(run));
    });
    const reach = (chart.box.right - chart.box.left) / 40;
    const near = chart.lines.flatMap(({ run }) =>
      (state.alarms[run] ?? []).filter((alarm) => Math.abs(placeOf(alarm, state.axis) - state.hover) < reach),
    );
    chart.tip.replaceChildren(
      make("b", {}, place),
      ...rows,
      ...near.slice(0, 3).map((alarm) => make("p", {}, alarm.sentence)),
    );
    const right = chart.px(state.hover) > chart.canvas.clientWidth / 2;
    chart.tip.style.left = right ? "" : chart.px(state.hover) + 12 + "px";
    chart.tip.style.right = right ? chart.canvas.clientWidth - chart.px(state.hover) + 12 + "px" : "";
  }

  // ---- Actions
  element.addEventListener("change", (event) => {
    const run = event.target.closest(".run")?.dataset.id;
    if (!run) return;
    state.chosen = event.target.checked ? [...state.chosen, run] : state.chosen.filter((one) => one !== run);
    compareAgain();
  });
  function compareAgain() {
    if (state.looked) trigger("look_at", { id: state.looked, with: others() });
    again();
  }
  element.addEventListener("click", (event) => {
    const bulk = event.target.closest("[data-do]"),
      view = event.target.closest("[data-view]"),
      pick = event.target.closest(".pick");
    if (bulk) {
      state.chosen = bulk.dataset.do === "all" ? table.listed().map((run) => run.id) : [];
      compareAgain();
    }
    if (view && view.localName === "button") paintView(view.dataset.view, true);
    if (pick) lookAt(pick.closest(".run").dataset.id, true);
  });

  const bar = curveBar({
    element,
    state,
    keep,
    setAxis(axis) {
      state.axis = axis;
      state.series.clear();
      again();
    },
    repaint: paintAll,
  });

  function lookAt(run, step = false) {
    look(run, null, step);
    state.sets = null;
    again();
  }

  function paintView(view = state.view, step = false) {
    state.view = $(`button[data-view="${CSS.escape(view)}"]`) ? view : CURVES;
    keep();
    if (visible(element)) setAddress({ view: state.view === CURVES ? null : state.view }, step);
    $(".monitor").dataset.view = state.view;
    for (const button of element.querySelectorAll("button[data-view]"))
      button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
    requestAnimationFrame(paintAll);
  }

  function watchWanted() {
    // another tab sends its run here, maybe before this one was ever shown
    const run = takeWantedRun();
    if (!run) return;
    state.chosen = [...new Set([...(state.chosen ?? []), run])];
    lookAt(run);
  }
  listen(element, "dailies:watch", watchWanted);
  // A hidden tab was shown again: its view is not in the address that the tab's button wrote.
  new IntersectionObserver(() => paintView()).observe(element);
  followAddress(element, "run", () => state.looked, lookAt);
  addEventListener("popstate", () => addressOf("tab") === "monitor" && paintView(addressOf("view") ?? CURVES));
  new MutationObserver(() => requestAnimationFrame(paintAll)).observe(document.body, {
    attributes: true,
    attributeFilter: ["class"],
  });
  element.curves = { state, charts };
  bar.paint();
  paintView((addressOf("tab") === "monitor" && addressOf("view")) || state.view);
  watchWanted();
}
