// Event "arrive" {id}: the page was opened by the permalink of a clip.
window.dailies.fill(element, props.value);
const id = new URL(location.href).searchParams.get("clip");
if (id) trigger("arrive", { id });
