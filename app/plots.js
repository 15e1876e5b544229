// Every plot can be taken away: as a picture, and as its numbers. Runs in the head after page.js, which it adds to.
Object.assign(
  window.dailies,
  (() => {
    const { save, csv, plotWords: words } = window.dailies;
    const ground = () => getComputedStyle(document.body).getPropertyValue("--panel-background-fill").trim() || "#fff";
    const ink = () => getComputedStyle(document.body).getPropertyValue("--body-text-color").trim() || "#000";

    // The two buttons; when one is pressed `png()` and `lines()` return a blob and lines of cells (or nothing, after
    // showing why), `name()` the file's name.
    function plotFiles(name, png, lines) {
      const box = Object.assign(document.createElement("span"), { className: "plot-files" });
      const make = (kind, act) => {
        const button = Object.assign(document.createElement("button"), {
          type: "button",
          textContent: kind.toUpperCase(),
          title: words[kind],
          ariaLabel: words[kind],
        });
        button.addEventListener("click", async () => {
          const blob = await act();
          if (blob) save(name() + "." + kind, blob);
        });
        return button;
      };
      box.append(
        make("png", png),
        make("csv", async () => {
          const cells = await lines();
          return cells && csv(cells);
        }),
      );
      return box;
    }

    // A canvas as PNG, with its title, on the page's ground; below it what its lines are: `legend` = [{name, colour,
    // dash}].
    function canvasPng(canvas, title, legend = []) {
      const scale = devicePixelRatio || 1,
        band = 26,
        row = 18,
        width = canvas.width / scale,
        height = canvas.height / scale;
      const sheet = Object.assign(document.createElement("canvas"), {
        width: canvas.width,
        height: (band + height + legend.length * row) * scale,
      });
      const pen = sheet.getContext("2d");
      pen.scale(scale, scale);
      pen.fillStyle = ground();
      pen.fillRect(0, 0, width, sheet.height);
      pen.fillStyle = ink();
      pen.font = "13px system-ui, sans-serif";
      pen.fillText(title, 6, 17, width - 12);
      pen.drawImage(canvas, 0, band, width, height);
      legend.forEach((line, index) => keyLine(pen, line, band + height + index * row, width));
      return new Promise((done) => sheet.toBlob(done));
    }

    function keyLine(pen, { name, colour, dash }, top, width) {
      pen.strokeStyle = colour;
      pen.lineWidth = 2;
      pen.setLineDash(dash);
      pen.beginPath();
      pen.moveTo(6, top + 8);
      pen.lineTo(34, top + 8);
      pen.stroke();
      pen.font = "12px system-ui, sans-serif";
      pen.fillText(name, 42, top + 12, width - 48);
    }

    // ---- Plotly's. On the page CSS gives text and grid their colours; the picture needs them in its layout.
    function plotlyPng(plot) {
      const text = { color: ink(), size: 12 },
        axes = Object.keys(plot._fullLayout).filter((key) => /^[xy]axis\d*$/.test(key));
      const coloured = Object.fromEntries(
        axes.map((key) => [key, { ...plot.layout[key], tickfont: text, gridcolor: "#8b8a8655" }]),
      );
      const layout = { ...plot.layout, ...coloured, font: { ...plot.layout.font, ...text }, paper_bgcolor: ground() };
      const { offsetWidth: width, offsetHeight: height } = plot;
      return window.Plotly.toImage({ data: plot.data, layout }, { format: "png", width, height, scale: 2 })
        .then((url) => fetch(url))
        .then((reply) => reply.blob());
    }

    const matrix = ({ name, x, y, z }) =>
      [...y].flatMap((row, r) => [...x].map((column, c) => [name, row, column, z[r]?.[c]]));
    function series(trace) {
      const { name, x = [], y = [], theta, r, error_x: reach } = trace,
        [first, second] = theta ? [theta, r] : [x, y];
      const known = reach?.array
        ? (index) => [reach.arrayminus?.[index] ?? reach.array[index], reach.array[index]]
        : () => [];
      return Array.from({ length: Math.max(first?.length ?? 0, second?.length ?? 0) }, (_, index) => [
        name,
        first?.[index] ?? index,
        second?.[index],
        ...known(index),
      ]);
    }
    function plotlyLines(plot) {
      const traces = plot._fullData,
        maps = traces.some(({ type }) => type === "heatmap");
      const head = maps ? ["series", "row", "column", "value"] : ["series", "x", "y"];
      const reaches = traces.some(({ error_x: reach }) => reach?.array) ? ["minus", "plus"] : [];
      return [
        [...head, ...reaches],
        ...traces.flatMap((trace) => (trace.type === "heatmap" ? matrix(trace) : series(trace))),
      ];
    }

    function equip() {
      for (const box of document.querySelectorAll(".plot")) {
        const plot = box.querySelector(".js-plotly-plot"),
          there = box.querySelector(".plot-files");
        if (plot && !there)
          box.append(
            plotFiles(
              () => box.id,
              () => plotlyPng(box.querySelector(".js-plotly-plot")),
              () => plotlyLines(box.querySelector(".js-plotly-plot")),
            ),
          );
        if (!plot) there?.remove();
      }
    }
    const begin = () => new MutationObserver(equip).observe(document.body, { childList: true, subtree: true });
    if (document.body) begin();
    else document.addEventListener("DOMContentLoaded", begin);

    return { plotFiles, canvasPng };
  })(),
);
