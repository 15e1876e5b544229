// The bell: reports jobs that ended, and alarms, while the page is out of sight, once the user switched it on here. By
// the browser's notifications where it lets us, and by a number in the tab's title in any case. Asks
// `server.news(seen)` only when on.
import { listen } from "../scripts/dom.js";
import { reach } from "../scripts/server.js";
import { readJson, storage } from "../scripts/storage.js";

export function ringing(button, words, server) {
  const ON = "dailies.bell",
    SEEN = "dailies.bell.seen",
    ASK_MS = 4000;
  const plain = document.title;
  let unread = 0,
    timer = null;
  const isOn = () => storage.get(ON) === "on";
  const mayShow = () => "Notification" in window && Notification.permission === "granted";
  const away = () => document.hidden || !document.hasFocus();

  function paint() {
    const state = !isOn() ? "off" : mayShow() ? "on" : "title";
    button.dataset.state = state;
    button.title = words[state];
    button.setAttribute("aria-pressed", String(isOn()));
  }

  function count(number) {
    unread = number;
    document.title = unread ? `(${unread}) ${plain}` : plain;
  }

  function tell({ key, title, body }) {
    if (!mayShow()) return;
    const shown = new Notification(title, { body, tag: key });
    shown.onclick = () => {
      window.focus();
      shown.close();
    };
  }

  async function ask() {
    clearTimeout(timer);
    if (!isOn() || !button.isConnected) return;
    const found = await reach(server, "news", readJson(SEEN)); // what it has to tell waits while it is away
    if (found.seen) storage.set(SEEN, JSON.stringify(found.seen));
    if (isOn() && away() && found.notices?.length) {
      count(unread + found.notices.length);
      found.notices.forEach(tell);
    }
    clearTimeout(timer);
    timer = setTimeout(ask, ASK_MS);
  }

  async function toggle() {
    const on = !isOn();
    storage.set(ON, on ? "on" : "off");
    storage.remove(SEEN); // what happened while it was off is no news
    paint();
    if (on && "Notification" in window && Notification.permission === "default") await Notification.requestPermission();
    paint();
    ask();
  }

  button.addEventListener("click", toggle);
  const back = () => {
    if (!away()) count(0);
  };
  listen(button, "visibilitychange", back);
  window.addEventListener("focus", back);
  paint();
  ask();
}
