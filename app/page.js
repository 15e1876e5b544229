// What every component of the page shares. Runs in the document's head, before Gradio builds anything.
window.dailies = (() => {
  const visible = (element) => element.isConnected && element.offsetParent !== null;
  const whenThere = (act) => (document.body ? act() : document.addEventListener("DOMContentLoaded", act));

  // ---- The browser's storage. Where it is blocked or full, what is written lasts as long as the page; `set` says which.
  const memories = { localStorage: new Map(), sessionStorage: new Map() };
  const area = (kind) => ({
    get(name) {
      if (memories[kind].has(name)) return memories[kind].get(name);
      try { return window[kind].getItem(name); } catch { return null; }
    },
    set(name, value) {
      try { window[kind].setItem(name, value); memories[kind].delete(name); return true; } catch { memories[kind].set(name, value); return false; }
    },
    remove(name) {
      memories[kind].delete(name);
      try { window[kind].removeItem(name); } catch { /* blocked: there is nothing to remove */ }
    },
    names() {
      let stored = [];
      try { stored = Object.keys(window[kind]); } catch { /* blocked */ }
      return [...new Set([...stored, ...memories[kind].keys()])];
    },
    isKept: (name) => !memories[kind].has(name),
  });
  const storage = area("localStorage"), session = area("sessionStorage");
  const readJson = (name) => { try { return JSON.parse(storage.get(name)) ?? {}; } catch { return {}; } };

  // ---- Requests that change something get a key of their own (see once.py): where no answer comes, the same request is
  // sent again, and what it asks for is done once.
  const RESENT_MS = [300, 1000, 3000], fetchOnce = window.fetch.bind(window);
  const unique = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const isKeyed = (address, init) => /\/gradio_api\/(queue\/join|component_server|upload)/.test(address) && init?.method?.toUpperCase() === "POST" && !(init.body instanceof ReadableStream);

  window.fetch = async (input, init) => {
    if (!isKeyed(String(input?.url ?? input), init)) return fetchOnce(input, init);
    const headers = new Headers(init.headers);
    headers.set("idempotency-key", unique());
    for (const wait of [...RESENT_MS, null]) {
      try { return await fetchOnce(input, { ...init, headers }); } catch (error) {
        if (wait === null || init.signal?.aborted) throw error;
        await new Promise((done) => setTimeout(done, wait));
      }
    }
  };

  // ---- Light and dark: what the person chose here, else what their system prefers.
  const theme = {
    current: () => storage.get("dailies.theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"),
    apply() { document.body?.classList.toggle("dark", theme.current() === "dark"); },
    toggle() {
      storage.set("dailies.theme", theme.current() === "dark" ? "light" : "dark");
      theme.apply();
    },
  };
  function keepTheme() {
    theme.apply();
    // Gradio sets the class once more when it starts.
    new MutationObserver(() => {
      if (document.body.classList.contains("dark") !== (theme.current() === "dark")) theme.apply();
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }
  whenThere(keepTheme);

  document.addEventListener("click", (event) => event.target.closest("[data-theme-toggle]") && theme.toggle());

  // ---- Listening to the document for as long as an element lives.
  function listen(element, type, handle) {
    const listener = (event) => (element.isConnected ? handle(event) : document.removeEventListener(type, listener));
    document.addEventListener(type, listener);
  }

  // ---- Keys: one player at a time gets them, never while the user types, and never when it is out of sight.
  let keyed = null;
  const typing = (target, element) =>
    Boolean(target.closest?.("textarea, select, [contenteditable], input:not([type=range])")) ||
    (target.matches?.("input") && !element.contains(target));
  const presses = (target) => Boolean(target.closest?.("button, a, summary, [role=tab], [role=checkbox]"));

  function onKey(element, handle) {
    const take = () => { keyed = element; };
    element.addEventListener("pointerdown", take, true);
    element.addEventListener("focusin", take);
    element.addEventListener("shown", take);
    listen(element, "keydown", (event) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (!visible(element) || typing(event.target, element)) return;
      if (keyed && keyed !== element && visible(keyed)) return;
      if ((event.key === " " || event.key === "Enter") && presses(event.target)) return;
      if (pressed(event).some((key) => handle(key, event.repeat))) event.preventDefault();
    });
  }

  // The keys that an event may mean, the likeliest first: none while an input method composes a text (the Enter that
  // accepts a candidate is no Enter); what is printed on the key; and where that is no Latin letter or digit, the key in
  // the same place of a US keyboard, so that letters work under Cyrillic and digits under AZERTY.
  const PLACES = { BracketLeft: "[", BracketRight: "]", Comma: ",", Period: ".", Slash: "/", Semicolon: ";", Quote: "'", Minus: "-", Equal: "=" };
  const composes = (event) => event.isComposing || event.keyCode === 229;

  function pressed(event) {
    if (composes(event)) return [];
    const key = plain(event.key), letter = /^Key([A-Z])$/.exec(event.code)?.[1].toLowerCase();
    if (/^[a-z0-9]$/.test(key) || (key.length > 1 && key !== "Dead")) return [key];
    const foreign = key === "Dead" || key.codePointAt(0) > 127;
    const place = letter ? foreign && letter : !event.shiftKey && (/^Digit(\d)$/.exec(event.code)?.[1] ?? PLACES[event.code]);
    return place ? [key, place] : [key];
  }

  // A letter is the same key under Caps Lock.
  const plain = (key) => (key.length === 1 ? key.toLowerCase() : key);

  // The keys of all players' actions; a person's own are kept in this browser. Taking a used key swaps the two, whichever
  // player the other one belongs to: an action has one key on the whole page, and "dailies:keys" follows each change.
  const KEYS = "dailies.keys", own = readJson(KEYS), players = [];
  const known = () => Object.assign({}, ...players);
  const takeOwn = () => { for (const name of Object.keys(own)) delete own[name]; Object.assign(own, readJson(KEYS)); };
  const keysChanged = () => document.dispatchEvent(new CustomEvent("dailies:keys"));
  addEventListener("storage", ({ key }) => { if (key === KEYS) { takeOwn(); keysChanged(); } }); // another window's

  // An action that came after its key was given away (Label's, before it was ever open) has that of the one who took it.
  function keyOf(name) {
    if (own[name]) return own[name];
    const all = known(), passed = new Set([name]);
    for (let key = all[name].key; ; ) {
      const taker = Object.keys(all).find((other) => !passed.has(other) && own[other] === key);
      if (!taker) return key;
      passed.add(taker);
      key = all[taker].key;
    }
  }

  function keys(actions) {
    players.push(actions);
    return {
      of: keyOf,
      name: (key) => ({ " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" })[key] ?? key.toUpperCase(),
      set(name, key) {
        takeOwn();
        const taken = Object.keys(known()).find((other) => other !== name && keyOf(other) === key);
        if (taken) own[taken] = keyOf(name);
        own[name] = key;
        storage.set(KEYS, JSON.stringify(own));
        keysChanged();
      },
    };
  }

  const UNFIT = ["Escape", "Tab", "Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock", "Dead", "Process"];

  function keyRow(label, map, name, changed) {
    const row = Object.assign(document.createElement("div"), { className: "keyrow" });
    const key = map.name(map.of(name));
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: key, ariaLabel: label + ": " + key });
    button.addEventListener("click", () => {
      button.classList.add("is-waiting");
      button.textContent = "…";
      button.addEventListener("keydown", (event) => {
        event.preventDefault();
        event.stopPropagation();
        const [key] = pressed(event);
        const rows = row.parentElement, place = [...rows.children].indexOf(row);
        if (key && !UNFIT.includes(key)) map.set(name, key);
        changed();
        rows.children[place]?.querySelector("button").focus(); // the rows may be new ones
      }, { once: true });
    });
    row.append(Object.assign(document.createElement("span"), { textContent: label }), button);
    return row;
  }

  // ---- The timeline of a player: a line at the frame that is shown, and a click goes to a frame.
  function follow(player, frame) {
    const plot = document.getElementById(player + "-timeline")?.querySelector(".js-plotly-plot");
    const area = plot?._fullLayout;
    if (!area?.xaxis) return;
    if (!plot.dailiesFollows) {
      plot.dailiesFollows = true;
      plot.on("plotly_click", (event) =>
        document.dispatchEvent(new CustomEvent("dailies:seek", { detail: { player, frame: event.points[0].x } })));
    }
    let line = plot.querySelector(".playhead");
    if (!line) line = plot.appendChild(Object.assign(document.createElement("div"), { className: "playhead" }));
    line.style.left = area.xaxis._offset + area.xaxis.d2p(frame) + "px";
    line.style.top = area.yaxis._offset + "px";
    line.style.height = area.yaxis._length + "px";
  }
  document.addEventListener("dailies:frame", (event) => follow(event.detail.player, event.detail.frame));

  // ---- Plots take the width that they are given: Plotly itself only looks when the window changes.
  // A plot that is drawn in a hidden tab has a default width until its box is shown.
  const observed = new WeakSet();
  const misfits = (box) => {
    const plot = box.querySelector(".js-plotly-plot"), drawn = plot?._fullLayout?.width;
    return Boolean(drawn && plot.clientWidth && Math.abs(drawn - plot.clientWidth) > 1);
  };
  const fit = (boxes) => requestAnimationFrame(() => boxes.some(misfits) && dispatchEvent(new Event("resize")));
  const measured = new ResizeObserver((entries) => fit(entries.map(({ target }) => target)));
  function measurePlots() {
    for (const plot of document.querySelectorAll(".plot")) {
      if (observed.has(plot)) continue;
      observed.add(plot);
      measured.observe(plot);
    }
  }
  whenThere(() => new MutationObserver(measurePlots).observe(document.body, { childList: true, subtree: true }));

  // ---- Ctrl+Enter anywhere in a form presses its main button.
  document.addEventListener("keydown", (event) => {
    if (composes(event) || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const button = event.target.closest?.(".ctrl-enter")?.querySelector("button.primary");
    if (button) { event.preventDefault(); button.click(); }
  });

  // Fill `[data-text=key]` within an element from an object, as text: what a person typed is never read as HTML.
  function fill(element, values) {
    for (const slot of element.querySelectorAll("[data-text]")) slot.textContent = values[slot.dataset.text] ?? "";
  }

  // A node from a <template>, e.g. one card of a grid.
  const stamp = (template) => template.content.firstElementChild.cloneNode(true);

  // The rows of a list, one for each item, each found again by its item's id: the state of a row (the focus, a
  // press that is half done, a number they typed) stays with its item. A row that is in its place is not moved, and one
  // that is moved gets its focus back.
  function rows(list, template, items, paint) {
    const before = new Map([...list.children].map((row) => [row.dataset.id, row])), held = document.activeElement;
    const wanted = new Set(items.map(({ id }) => id));
    for (const [id, row] of before) if (!wanted.has(id)) row.remove();
    let place = list.firstElementChild;
    for (const item of items) {
      const row = before.get(item.id) ?? stamp(template);
      row.dataset.id = item.id;
      if (row === place) place = row.nextElementSibling;
      else list.insertBefore(row, place);
      fill(row, item);
      paint(row, item);
    }
    if (held !== document.activeElement && list.contains(held)) held.focus({ preventScroll: true });
  }

  // ---- The page's own address says where it is: `address({tab: "train"})`; null takes a part away. Not the labellers' page.
  function address(parts) {
    const url = new URL(location.href);
    if (!document.getElementById("tabs")) return;
    for (const [name, value] of Object.entries(parts)) {
      if (value) url.searchParams.set(name, value);
      else url.searchParams.delete(name);
    }
    if (url.href !== location.href) history.replaceState(history.state, "", url);
  }

  // ---- Words for those who do not see the page: once, in a line out of sight.
  const voice = Object.assign(document.createElement("p"), { id: "dailies-voice", role: "status" });
  voice.style.cssText = "position:fixed;width:1px;height:1px;margin:-1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap";
  whenThere(() => document.body.append(voice));
  const announce = (sentence) => { voice.textContent = sentence; };

  // ---- Copying. Over plain HTTP from another host there is no `navigator.clipboard`: there the old way does it.
  async function copied(text) {
    try { await navigator.clipboard.writeText(text); return true; } catch { return copiedSelected(text); }
  }

  function copiedSelected(text) {
    const before = document.activeElement, field = Object.assign(document.createElement("textarea"), { value: text, readOnly: true });
    field.style.cssText = "position:fixed;top:0;opacity:0";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    before?.focus({ preventScroll: true });
    return done;
  }

  // The copy button shows the result for a moment.
  async function copy(button, text) {
    const { done, failed } = window.dailies.copyWords, label = (button.dataset.label ??= button.textContent);
    const said = (await copied(text)) ? done : failed;
    button.textContent = said;
    announce(said);
    clearTimeout(button.saying);
    button.saying = setTimeout(() => { button.textContent = label; }, 2000);
  }

  // ---- Files that the page makes itself.
  function save(name, blob) {
    const address = URL.createObjectURL(blob);
    Object.assign(document.createElement("a"), { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  // Lines of cells as CSV. A cell that a spreadsheet would evaluate gets an apostrophe before it, as in spreadsheet.py.
  function csv(lines) {
    const quote = (value) => {
      const shown = value === null || value === undefined ? "" : String(value);
      const safe = typeof value === "string" && /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(shown) ? "'" + shown : shown;
      return /[",\r\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
    };
    return new Blob([lines.map((line) => line.map(quote).join(",") + "\r\n").join("")], { type: "text/csv" });
  }

  return { theme, visible, listen, typing, storage, session, composes, pressed, onKey, keys, keyRow, fill, stamp, rows, address, announce, copy, save, csv };
})();
