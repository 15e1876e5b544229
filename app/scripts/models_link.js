// Links to the list of models, in the forms that choose a model: a press opens the System tab there, without a reload.
const TRIES = 100,
  WAIT_MS = 50;

document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[data-to="models"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  document.querySelector('#tabs button[data-tab-id="system"]')?.click();
  show(TRIES);
});

// The tab is built at its first opening.
function show(left) {
  const list = document.querySelector("#system-models .listing");
  if (list?.offsetParent) {
    list.focus({ preventScroll: true });
    list.closest(".desk-panel").scrollIntoView({ block: "start" });
  } else if (left) setTimeout(() => show(left - 1), WAIT_MS);
}
