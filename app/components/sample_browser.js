// Which checkpoint's samples are shown. `props.value` = {run, sets: [{name, label}], prompts: [text], set, prompt,
// note, can_ask, can_use, files: [{label, url, file}]}. Events: "show_sample" {run, set, prompt, with} (names and positions),
// "sample_now" {run}, "use_adapter" {run}.
import { fill } from "../scripts/dom.js";

export default function mount({ element, trigger, props, watch }) {
  const $ = (selector) => element.querySelector(selector);
  let value = props.value;

  const at = () => Number($(".at input").value);
  // The position is kept where the server reads it before the event is sent: a new set that arrives meanwhile keeps it.
  function tell() {
    value = props.value = { ...value, set: at(), prompt: Number($("select").value) };
    trigger("show_sample", {
      run: value.run,
      set: value.sets[value.set]?.name ?? null,
      prompt: value.prompt,
      with: value.with,
    });
  }

  function show(given) {
    value = given;
    fill(element, value);
    const options = value.prompts.map((text, index) =>
      Object.assign(document.createElement("option"), { value: index, textContent: text }),
    );
    $("select").replaceChildren(...options);
    $("select").value = value.prompt;
    $("select").title = $("select").selectedOptions[0]?.textContent ?? "";
    Object.assign($(".at input"), { max: Math.max(0, value.sets.length - 1), disabled: value.sets.length < 2 });
    $(".at input").value = value.set;
    $(".files").replaceChildren(
      ...value.files.map(({ label, url, file }) =>
        Object.assign(document.createElement("a"), { textContent: label, href: url, download: file }),
      ),
    );
    $(".now").disabled = !value.can_ask;
    $(".use").hidden = !value.can_use;
    $(".prompt").hidden = value.prompts.length === 0;
    paint();
  }

  function paint() {
    $(".at output").textContent = value.sets[at()]?.label ?? "";
    $('[data-by="-1"]').disabled = at() <= 0;
    $('[data-by="1"]').disabled = at() >= value.sets.length - 1;
  }

  function go() {
    paint();
    tell();
  }

  $(".at input").addEventListener("input", go);
  $("select").addEventListener("change", tell);
  element.addEventListener("click", (event) => {
    const by = event.target.closest("[data-by]");
    if (by) {
      $(".at input").value = at() + Number(by.dataset.by);
      go();
    }
    if (event.target.closest(".use")) trigger("use_adapter", { run: value.run });
    if (event.target.closest(".now")) trigger("sample_now", { run: value.run });
  });
  watch("value", () => show(props.value));
  show(props.value);
}
