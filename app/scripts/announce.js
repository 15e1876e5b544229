// Words for those who do not see the page: once, in a line out of sight.
import { make } from "./dom.js";

const voice = make("p", { id: "dailies-voice", role: "status" });
voice.style.cssText =
  "position:fixed;width:1px;height:1px;margin:-1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap";
document.body.append(voice);

export function announce(sentence) {
  voice.textContent = sentence;
}
