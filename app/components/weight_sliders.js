// The weights of a mix. `props.value` = {mix, own: {key: weight}, weights: {key: weight}, names: {key: {title,
// question}}}. Events: "weigh" {weights}, at most one a frame while a slider is moved; "saved", when
// `server.save_mix({mix, title, weights})` has saved the weights as a mix.
import { stamp } from "../scripts/dom.js";
import { reach } from "../scripts/server.js";

export default function mount({ element, trigger, props, server, watch }) {
  const $ = (selector) => element.querySelector(selector);
  const WHOLE = 3; // the largest weight that a slider offers, unless the mix has a larger one
  let weights = {},
    asked = false;

  function show(value) {
    weights = { ...value?.weights };
    const same =
      Object.keys(value?.names ?? {}).join() === [...$(".sliders").children].map((made) => made.dataset.key).join();
    if (same) return paint(); // what is being dragged stays in hand
    const most = Math.max(WHOLE, ...Object.values(value?.own ?? {}));
    $(".sliders").replaceChildren(...Object.entries(value?.names ?? {}).map(([key, name]) => row(key, name, most)));
    paint();
  }

  function row(key, { title, question }, most) {
    const made = stamp($("template"));
    made.dataset.key = key;
    made.title = question;
    made.querySelector(".name").textContent = title;
    Object.assign(made.querySelector("input"), { max: most, value: weights[key], ariaLabel: title });
    return made;
  }

  function paint() {
    for (const made of $(".sliders").children) {
      const weight = weights[made.dataset.key];
      made.querySelector("output").textContent = weight.toFixed(2);
      made.querySelector("input").value = weight;
      made.classList.toggle("is-off", weight === 0);
    }
    const own = props.value?.own ?? {};
    $('[data-do="reset"]').disabled = Object.keys(own).every((key) => own[key] === weights[key]);
  }

  function tell() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      props.value = { ...props.value, weights: { ...weights } };
      trigger("weigh", { weights });
    });
  }

  $(".sliders").addEventListener("input", (event) => {
    weights[event.target.closest(".weight").dataset.key] = Number(event.target.value);
    paint();
    tell();
  });
  $('[data-do="reset"]').addEventListener("click", () => {
    weights = { ...props.value.own };
    paint();
    tell();
  });
  $(".save").addEventListener("submit", async (event) => {
    event.preventDefault();
    const title = $(".save input"),
      order = { mix: props.value.mix, title: title.value, weights },
      answer = await reach(server, "save_mix", order);
    $(".said").textContent = answer.problem ?? answer.said;
    if (answer.problem) return title.focus();
    title.value = "";
    trigger("saved", {});
  });
  watch("value", () => show(props.value));
  show(props.value);
}
