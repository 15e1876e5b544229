// A campaign in figures. `props.value` = {figures: [[name, value]], people: [[cell]], links: [[label, address]],
// remarks: [sentence], empty: [title, hint] | null, campaign, mix, pulse}. Looks for newer votes while visible.
// Events "outdated" and "learned".
import { make } from "../scripts/dom.js";
import { poll, reach } from "../scripts/server.js";

export default function mount({ element, trigger, props, server, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);

  function show(value) {
    const { figures = [], people = [], links = [], remarks = [], empty = null } = value ?? {};
    $(".figures").replaceChildren(
      ...figures.map(([name, figure]) => {
        return make("div", {}, make("dt", {}, name), make("dd", {}, figure));
      }),
    );
    $(".loading").hidden = Object.keys(value ?? {}).length > 0;
    $(".empty").hidden = !empty;
    if (empty) [$(".empty h3").textContent, $(".empty p").textContent] = empty;
    $(".of-people").hidden = !people.length;
    $("thead tr").replaceChildren(...words.people_heads.map((head) => make("th", { scope: "col" }, head)));
    $("tbody").replaceChildren(
      ...people.map((cells) => {
        return make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
      }),
    );
    $(".remarks").replaceChildren(...remarks.map((sentence) => make("p", {}, sentence)));
    $(".learn").hidden = $(".links").hidden = !links.length;
    $(".links").replaceChildren(
      $(".links span"),
      ...links.map(([label, href]) => make("a", { href, download: "" }, label)),
    );
  }

  $(".learn").addEventListener("submit", async (event) => {
    event.preventDefault();
    const { campaign: id, mix } = props.value;
    const order = { id, mix, name: event.target.elements.name.value };
    const answer = await reach(server, "learn", order);
    $(".said").textContent = answer.problem ?? answer.said;
    if (!answer.problem) trigger("learned");
  });

  // ---- Newer votes
  const LOOK_MS = 3000,
    REST = 5, // times as long as the last results took, until the next ones are asked for
    PATIENCE_MS = 60_000; // with an answer: there is none where nothing new was computed yet
  let asked = 0, // when results were asked for that are not there yet
    rest = 0; // no look before

  async function look() {
    const { campaign, pulse } = props.value ?? {};
    const now = performance.now();
    if (!campaign || now < rest) return;
    if (asked && now - asked < PATIENCE_MS) return;
    const newest = await reach(server, "pulse", campaign); // a problem is said elsewhere on the page
    if (typeof newest === "string" && newest !== pulse && props.value?.pulse === pulse) {
      asked = performance.now();
      trigger("outdated");
    }
  }
  poll(element, look, () => LOOK_MS);

  watch("value", () => {
    const now = performance.now();
    if (asked) rest = now + REST * (now - asked);
    asked = 0;
    show(props.value);
  });
  show(props.value);
}
