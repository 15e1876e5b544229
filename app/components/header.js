// Events: "arrive" {id}, the page was opened by the permalink of a clip; "arrive_at" {tab}, by the address of a tab;
// "arrive_sweep" {id}, by that of a sweep.
import { setAddress } from "../scripts/address.js";
import { fill } from "../scripts/dom.js";
import mountHelp from "./help_dialog.js";
import mountQueue from "./job_queue.js";
import { ringing } from "./notifications.js";

export default function mount({ element, trigger, props, server }) {
  fill(element, props.value);
  mountQueue({ element, trigger, words: props.words.queue, server });
  mountHelp({ element, words: props.words.help, steps: server.steps, go: (tab) => trigger("arrive_at", { tab }) });
  ringing(element.querySelector(".bell"), props.words.bell, server.news);

  // ---- Where the page is, told by its address: `tab`, and what is looked at there. A reload or a bookmark comes back to
  // it.
  const OPENS = "generate";
  const asked = new URL(location.href).searchParams,
    clip = asked.get("clip"),
    tab = asked.get("tab");
  if (clip) trigger("arrive", { id: clip });
  // An answer for the tab that is open anyway could come after a press.
  else if (asked.get("sweep")) trigger("arrive_sweep", { id: asked.get("sweep") });
  else if (tab && tab !== OPENS) trigger("arrive_at", { tab });

  // Gradio has an event for a tab that was pressed; only the tabs' buttons show that the page itself switched.
  let here = OPENS; // written to the address after the first switch
  function follow() {
    const open = document.querySelector('#tabs button[id$="-tab-button"][aria-selected="true"]')?.dataset.tabId ?? here;
    if (open === here) return;
    here = open;
    setAddress(open === "library" ? { tab: open } : { tab: open, clip: null }, true);
  }

  // Back and Forward: the address is there already, so the switch of the tab writes none.
  addEventListener("popstate", () => {
    const { searchParams } = new URL(location.href),
      wanted = searchParams.get("clip") ? "library" : (searchParams.get("tab") ?? OPENS);
    if (wanted !== here) {
      here = wanted;
      trigger("arrive_at", { tab: wanted });
    }
    if (searchParams.get("clip")) trigger("arrive", { id: searchParams.get("clip") });
  });
  new MutationObserver(
    (changes) => changes.some(({ target }) => target.id.endsWith("-tab-button")) && follow(),
  ).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["aria-selected"] });
}
