// The controls of the curves: smoothing, axis, logarithmic values, and a search for metrics. Used by metric_charts.js.
export function curveBar({ element, state, keep, setAxis, repaint }) {
  const $ = (selector) => element.querySelector(selector);

  function paint() {
    for (const button of element.querySelectorAll("[data-axis]"))
      button.setAttribute("aria-pressed", button.dataset.axis === state.axis);
    $(".log").setAttribute("aria-pressed", String(!!state.log));
    $(".smoothing input").value = state.smoothing;
    $(".smoothing output").textContent = Number(state.smoothing).toFixed(2);
    $(".find-metric").value = state.metric ?? "";
    filter();
  }

  function filter() {
    const words = (state.metric ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    for (const group of element.querySelectorAll(".group")) {
      const figures = [...group.querySelectorAll(".chart")];
      for (const figure of figures) {
        const text = `${figure.dataset.metric} ${figure.querySelector(".title").textContent}`.toLowerCase();
        figure.hidden = !words.every((word) => text.includes(word));
      }
      group.hidden = figures.every((figure) => figure.hidden);
      if (words.length && !group.hidden) group.open = true;
    }
  }

  function changed() {
    keep();
    paint();
    repaint();
  }

  $(".smoothing input").addEventListener("input", ({ target }) => {
    state.smoothing = Number(target.value);
    changed();
  });
  $(".find-metric").addEventListener("input", ({ target }) => {
    state.metric = target.value;
    changed();
  });
  $(".bar").addEventListener("click", ({ target }) => {
    const axis = target.closest("[data-axis]")?.dataset.axis;
    if (axis && axis !== state.axis) {
      setAxis(axis);
      paint();
    }
    if (target.closest(".log")) {
      state.log = !state.log;
      changed();
    }
  });
  return { paint, filter };
}
