// The keyframes of a clip to come. `props.value` = {request, mix, cards: [{frame, picture, url}], usable} or null; what
// was asked for came to nothing where only `usable` changes. Events: redraw {frame}, replace {frame, path}, complete
// {}, discard {}.
import { fill, stamp } from "../scripts/dom.js";
import { composes } from "../scripts/keyboard.js";

export default function mount({ element, trigger, props, upload, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);

  function card(one, ratio) {
    const made = stamp($("template"));
    fill(made, { at: `${words.frame} ${one.frame}` });
    const picture = made.querySelector("img"),
      file = made.querySelector("input"),
      label = made.querySelector(".upload");
    picture.src = one.url;
    picture.alt = `${words.frame} ${one.frame}`;
    picture.style.setProperty("--ratio", ratio);
    const again = made.querySelector(".again");
    again.setAttribute("aria-label", `${words.again} ${words.frame} ${one.frame}`);
    label.setAttribute("aria-label", `${words.upload} ${words.frame} ${one.frame}`);
    again.addEventListener("click", () => {
      wait(made, words.drawing);
      trigger("redraw", { frame: one.frame });
    });
    label.addEventListener("keydown", (event) => {
      if (composes(event) || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      file.click();
    });
    file.addEventListener("change", async () => {
      if (!file.files.length) return;
      wait(made, words.sending);
      try {
        const { path } = await upload(file.files[0]);
        trigger("replace", { frame: one.frame, path });
      } catch {
        show(props.value, words.not_sent);
      }
    });
    return made;
  }

  function wait(one, words) {
    one.classList.add("is-waiting");
    $(".state").textContent = words;
    for (const button of element.querySelectorAll("button")) button.disabled = button.className !== "drop";
  }

  function show(value, state = "") {
    const { request, cards = [] } = value ?? {};
    const ratio = request ? request.width / request.height : 1;
    $(".state").textContent = state;
    for (const button of element.querySelectorAll(".foot button")) button.disabled = false;
    $("ol").replaceChildren(...cards.map((one) => card(one, ratio)));
  }

  $(".fill").addEventListener("click", () => {
    $(".fill").disabled = true;
    trigger("complete", {});
  });
  $(".drop").addEventListener("click", () => trigger("discard", {}));
  watch("value", () => show(props.value));
  show(props.value);
}
