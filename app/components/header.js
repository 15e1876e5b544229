// Events: "arrive" {id}, the page was opened by the permalink of a clip; "arrive_at" {tab}, by the address of a tab;
// "arrive_sweep" {id}, by that of a sweep.
import { addressOf, setAddress } from "../scripts/address.js";
import { fill } from "../scripts/dom.js";
import mountHelp from "./help_dialog.js";
import mountQueue from "./job_queue.js";
import { ringing } from "./notifications.js";

export default function mount({ element, trigger, props, server }) {
  fill(element, props.value);
  mountQueue({ element, trigger, words: props.words.queue, server });
  mountHelp({ element, words: props.words.help, server, go: (tab) => trigger("arrive_at", { tab }) });
  ringing(element.querySelector(".bell"), props.words.bell, server);

  // ---- Where the page is, told by its address: `tab`, and what is looked at there. A reload or a bookmark comes back to
  // it.
  const OPENS = "generate";
  const clip = addressOf("clip"),
    tab = addressOf("tab"),
    sweep = addressOf("sweep");
  if (clip) trigger("arrive", { id: clip });
  // An answer for the tab that is open anyway could come after a press.
  else if (sweep) trigger("arrive_sweep", { id: sweep });
  else if (tab && tab !== OPENS) trigger("arrive_at", { tab });

  // Gradio has an event for a tab that was pressed; only the tabs' buttons show that the page itself switched.
  let here = OPENS; // written to the address after the first switch
  let leaving = null; // the tab that Back or Forward leaves, while the page still shows it
  const openTab = () =>
    document.querySelector('#tabs button[id$="-tab-button"][aria-selected="true"]')?.dataset.tabId ?? here;
  function follow() {
    const open = openTab();
    if (open === leaving) return;
    leaving = null;
    if (open !== here) {
      here = open;
      const came = addressOf("tab") === open ? {} : { view: null, shown: null };
      setAddress({ tab: open, ...came, ...(open === "library" ? {} : { clip: null }) }, true);
    }
    followView();
  }

  // The views of Label are Gradio's tabs as well.
  const VOTE = "vote"; // needs no word in the address
  const viewButton = (name) => document.querySelector(`#label-views button${name}`);
  let shownView = VOTE;
  function followView() {
    const open = here === "label" && viewButton('[aria-selected="true"]')?.dataset.tabId;
    if (!open || open === shownView) return;
    shownView = open;
    setAddress({ view: open === VOTE ? null : open }, true);
  }
  function showView() {
    if (addressOf("tab") !== "label") return true;
    const button = viewButton(`[data-tab-id="${CSS.escape(addressOf("view") ?? VOTE)}"]`);
    if (button?.getAttribute("aria-selected") === "false") button.click();
    return Boolean(viewButton("[data-tab-id]"));
  }

  // Back and Forward: the address is there already, so the switch of the tab writes none.
  addEventListener("popstate", () => {
    const clip = addressOf("clip"),
      wanted = clip ? "library" : (addressOf("tab") ?? OPENS);
    if (wanted !== here) {
      leaving = openTab();
      here = wanted;
      trigger("arrive_at", { tab: wanted });
    }
    const asked = new CustomEvent("dailies:clip", { detail: clip, cancelable: true });
    // Without effect before the Library is shown.
    if (wanted === "library" && document.dispatchEvent(asked) && clip) trigger("arrive", { id: clip });
    shownView = addressOf("view") ?? VOTE;
    awaitView();
  });
  const asking = new MutationObserver(() => showView() && asking.disconnect());
  const awaitView = () => showView() || asking.observe(document.body, { subtree: true, childList: true });
  awaitView();
  new MutationObserver(
    (changes) => changes.some(({ target }) => target.matches('#tabs [role="tab"]')) && follow(),
  ).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["aria-selected"] });
}
