// Icons at the labels of the fields around this component: `props.hints` has a sentence by the id of a field. An icon
// is no part of the label, whose text names the field: it stands over it, behind a copy of its text that is not seen.
import { make } from "../scripts/dom.js";
import { hintIcon } from "../scripts/hints.js";

export default function mount({ element, props }) {
  const form = element.closest(".request-form");

  function place() {
    for (const [id, sentence] of Object.entries(props.hints)) {
      const title = document.querySelector(
        `#${id} [data-testid="block-info"], #${id} .head > span, #${id} label > span`,
      );
      if (!title || title.closest(`#${id}`).querySelector(".help-icon")) continue;
      const name = title.textContent.trim(),
        about = props.words.about.replace("{term}", name),
        copy = make("span", { className: title.className, textContent: name, ariaHidden: "true" });
      const isChecked = title.previousElementSibling?.matches("input");
      (title.closest("label") ?? title).before(
        make("span", { className: `label-help${isChecked ? " of-box" : ""}` }, copy, hintIcon(about, sentence)),
      );
    }
  }

  new MutationObserver(place).observe(form, { childList: true, subtree: true });
  place();
}
