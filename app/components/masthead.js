// Event "arrive" {id}: the page was opened by the permalink of a clip.
window.dailies.fill(element, props.value);
ringing(element.querySelector(".bell"), props.words.bell, server.news);
const id = new URL(location.href).searchParams.get("clip");
if (id) trigger("arrive", { id });
