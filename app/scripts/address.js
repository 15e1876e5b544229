// The page's own address says where it is: `setAddress({tab: "train"})`; null takes a part away. The labellers' page
// has one address.
export function setAddress(parts) {
  if (!document.getElementById("tabs")) return;
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(parts)) {
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  if (url.href !== location.href) history.replaceState(history.state, "", url);
}
