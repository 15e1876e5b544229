// Which reward would choose differently. `props.value` = [{key, id, poster, sentence}]. Event: open_clip {id}.
import { setShown } from "../scripts/address.js";
import { fill, stamp } from "../scripts/dom.js";

export default function mount({ element, trigger, props, watch }) {
  const $ = (selector) => element.querySelector(selector);

  function show(value) {
    $(".none").hidden = Boolean(value?.length);
    $("ul").replaceChildren(...(value ?? []).map(line));
  }

  function line(one) {
    const made = stamp($("template"));
    fill(made, one);
    made.querySelector("img").src = one.poster;
    made.querySelector("button").addEventListener("click", () => {
      setShown("score", one.id, true);
      trigger("open_clip", { id: one.id });
    });
    return made;
  }

  watch("value", () => show(props.value));
  show(props.value);
}
