// The browser's storage. Where it is blocked or full, a written value lasts as long as the page; `isKept` tells which.
const memory = new Map();

export const storage = {
  get(name) {
    if (memory.has(name)) return memory.get(name);
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(name, value);
      memory.delete(name);
      return true;
    } catch {
      memory.set(name, value);
      return false;
    }
  },
  remove(name) {
    memory.delete(name);
    try {
      localStorage.removeItem(name);
    } catch {
      // blocked: there is nothing to remove
    }
  },
  names() {
    let stored = [];
    try {
      stored = Object.keys(localStorage);
    } catch {
      // blocked
    }
    return [...new Set([...stored, ...memory.keys()])];
  },
  isKept: (name) => !memory.has(name),
};

// The stored JSON value, or `otherwise` where there is none or it is damaged.
export function readJson(name, otherwise = {}) {
  try {
    return JSON.parse(storage.get(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}
