// Event "arrive" {id}: the page was opened by the permalink of a clip.
window.dailies.fill(element, props.value);
element.querySelector(".theme").addEventListener("click", () => window.dailies.theme.toggle());
const id = new URL(location.href).searchParams.get("clip");
if (id) trigger("arrive", { id });
