// Every plot can be taken away: as a picture, and as its numbers.
import { make } from "./dom.js";
import { csv, save } from "./files.js";
import { plotWords as words } from "./words.js";

export const ground = () =>
  getComputedStyle(document.body).getPropertyValue("--panel-background-fill").trim() || "#fff";
export const ink = () => getComputedStyle(document.body).getPropertyValue("--body-text-color").trim() || "#000";

// The two buttons; when one is pressed `png()` and `lines()` return a blob and lines of cells (or nothing, after
// showing why), `name()` the file's name.
export function plotFiles(name, png, lines) {
  const button = (kind, act) => {
    const made = make("button", {
      type: "button",
      textContent: kind.toUpperCase(),
      title: words[kind],
      ariaLabel: words[kind],
    });
    made.addEventListener("click", async () => {
      const blob = await act();
      if (blob) save(name() + "." + kind, blob);
    });
    return made;
  };
  const numbers = async () => {
    const cells = await lines();
    return cells && csv(cells);
  };
  return make("span", { className: "plot-files" }, button("png", png), button("csv", numbers));
}

// A canvas as PNG, with its title, on the page's ground; below it what its lines are: `legend` = [{name, colour,
// dash}].
export function canvasPng(canvas, title, legend = []) {
  const scale = devicePixelRatio || 1,
    band = 26,
    row = 18,
    width = canvas.width / scale,
    height = canvas.height / scale;
  const sheet = make("canvas", {
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
