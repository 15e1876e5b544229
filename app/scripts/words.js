// Texts that the server writes into the page's head (app/modules.py), for scripts that belong to no component.
export const { plotWords, copyWords, unreachable } = JSON.parse(document.getElementById("dailies-words").textContent);
