// Devices live and over time. Asks `server.news({since})` for the newest snapshot, only while visible.
import { stamp } from "../scripts/dom.js";
import { canvasPng, plotFiles } from "../scripts/plot_files.js";
import { poll, reach } from "../scripts/server.js";

export default function mount({ element, props, server }) {
  const { words, colours } = props;
  const $ = (selector) => element.querySelector(selector);
  const ASK_MS = 5000,
    MOST = 720,
    GIB = 2 ** 30;
  const state = { rows: [], since: 0, asks: 0 };

  async function ask() {
    state.asks += 1;
    const news = await reach(server, "news", { since: state.since });
    if (news.problem) $(".note").textContent = news.problem;
    else if (element.isConnected) take(news);
  }

  const told = (value, digits, unit) =>
    value === null || value === undefined ? words.not_told : value.toFixed(digits) + unit;
  const share = (used, total) =>
    used === null || !total ? words.not_told : (used / GIB).toFixed(1) + " of " + (total / GIB).toFixed(0) + " GiB";

  function gauges(gpu) {
    const of = (index) => state.rows.map((row) => row.gpus[gpu.index]?.[index] ?? null);
    return [
      [words.use, "%", told(gpu.util_pct, 0, " %"), of(0), 100],
      [words.memory, "bytes", share(gpu.mem_used_b, gpu.mem_total_b), of(1), gpu.mem_total_b],
      [words.power, "W", told(gpu.power_w, 0, " W"), of(2), null],
      [words.temperature, "°C", told(gpu.temp_c, 0, " °C"), of(3), 110],
      [words.clock, "MHz", told(gpu.clock_mhz, 0, " MHz"), of(4), null],
    ];
  }

  function take(news) {
    state.rows = [...(news.whole ? [] : state.rows), ...news.rows].slice(-MOST);
    state.since = news.at;
    $(".note").textContent = news.note;
    const last = state.rows.at(-1);
    const machine = {
      title: words.processor,
      facts: "",
      gauges: [
        [words.use, "%", told(last.cpu, 0, " %"), state.rows.map((row) => row.cpu), 100],
        [words.memory, "bytes", share(last.ram, news.ram_total_b), state.rows.map((row) => row.ram), news.ram_total_b],
      ],
    };
    const cards = news.gpus.map((gpu) => ({
      title: gpu.index + ": " + (gpu.name ?? gpu.vendor),
      facts: [gpu.arch, gpu.bdf, gpu.uuid].filter(Boolean).join(", "),
      gauges: gauges(gpu),
    }));
    paint([...cards, machine]);
  }

  function paint(cards) {
    const list = $(".devices");
    while (list.children.length > cards.length) list.lastElementChild.remove();
    while (list.children.length < cards.length) list.append(stamp($("template")));
    cards.forEach((card, index) => {
      const box = list.children[index];
      box.querySelector("h4").textContent = card.title;
      box.querySelector(".facts").textContent = card.facts;
      const grid = box.querySelector(".gauges");
      while (grid.children.length > card.gauges.length) grid.lastElementChild.remove();
      while (grid.children.length < card.gauges.length) grid.append(makeGauge());
      card.gauges.forEach((gauge, at) => paintGauge(grid.children[at], card.title, ...gauge));
    });
  }

  function makeGauge() {
    const box = Object.assign(document.createElement("div"), { className: "gauge" }),
      line = document.createElement("span");
    const title = () => box.told.device + ", " + box.told.name;
    const file = () => ("telemetry " + title()).toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
    const lines = () => [
      ["time", `${box.told.name} (${box.told.unit})`],
      ...box.told.values.map((value, index) => [moment(state.rows[index].at), value]),
    ];
    const files = plotFiles(file, () => canvasPng(box.querySelector("canvas"), title()), lines);
    line.append(document.createElement("i"), files, document.createElement("b"));
    line.firstChild.style.fontStyle = "normal";
    box.append(line, document.createElement("canvas"));
    return box;
  }

  const moment = (at) => new Date(at * 1000).toISOString();

  function paintGauge(box, device, name, unit, text, values, most) {
    box.told = { device, name, unit, values };
    box.querySelector("i").textContent = name;
    box.querySelector("b").textContent = text;
    const canvas = box.querySelector("canvas"),
      scale = devicePixelRatio || 1,
      width = canvas.clientWidth,
      height = canvas.clientHeight;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name + ": " + text);
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const known = values.filter((value) => value !== null),
      top = most ?? Math.max(1, ...known) * 1.1;
    pen.fillStyle = getComputedStyle(element).getPropertyValue("--border-color-primary");
    pen.fillRect(0, height - 1, width, 1);
    if (!known.length) return;
    pen.strokeStyle = colours[0];
    pen.lineWidth = 1.5;
    pen.beginPath();
    let drawing = false;
    values.forEach((value, index) => {
      if (value === null) {
        drawing = false;
        return;
      }
      const x = values.length > 1 ? (index / (values.length - 1)) * width : width,
        y = height - 2 - (Math.min(value, top) / top) * (height - 4);
      pen[drawing ? "lineTo" : "moveTo"](x, y);
      if (values.length === 1) pen.lineTo(x - 4, y);
      drawing = true;
    });
    pen.stroke();
  }

  element.telemetry = state;
  poll(element, ask, () => ASK_MS);
}
