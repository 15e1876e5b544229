export const addressOf = (name) => new URL(location.href).searchParams.get(name);

// Call `go` with a part of the address that Back or Forward changed; `now` returns what is shown.
export function followAddress(element, name, now, go) {
  function follow() {
    if (!element.isConnected) return removeEventListener("popstate", follow);
    const wanted = addressOf(name);
    if (wanted && wanted !== now()) go(wanted);
  }
  addEventListener("popstate", follow);
}

// The page's own address says where it is: `setAddress({tab: "train"})`; null takes a part away. With `step` the browser's
// Back comes back to the former address. The labellers' page has one address.
export function setAddress(parts, step = false) {
  if (!document.getElementById("tabs")) return;
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(parts)) {
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  if (url.href !== location.href) history[step ? "pushState" : "replaceState"](history.state, "", url);
}

// The clip that was opened in Generate or Score is `shown` in the address of its tab.
const shown = {}; // ids by tab
const isAt = (tab) => (addressOf("tab") ?? "generate") === tab;

export const shownAt = (tab) => (isAt(tab) ? addressOf("shown") : null);

export function setShown(tab, id, step = false) {
  shown[tab] = id;
  if (isAt(tab)) setAddress({ shown: id }, step);
}

// Call `go` with the clip that Back or Forward leads to, null for none.
export function followShown(element, tab, go) {
  function follow() {
    if (!element.isConnected) return removeEventListener("popstate", follow);
    if (!isAt(tab) || addressOf("shown") === (shown[tab] ?? null)) return;
    shown[tab] = addressOf("shown");
    go(shown[tab]);
  }
  addEventListener("popstate", follow);
}
