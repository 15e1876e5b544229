// Light and dark: the person's choice in this browser, else that of their system.
import { storage } from "./storage.js";

const KEPT = "dailies.theme";
const current = () => storage.get(KEPT) ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const isApplied = () => document.body.classList.contains("dark") === (current() === "dark");
const apply = () => document.body.classList.toggle("dark", current() === "dark");

function toggle() {
  storage.set(KEPT, current() === "dark" ? "light" : "dark");
  apply();
}

apply();
// Gradio sets the class once more when it starts.
new MutationObserver(() => isApplied() || apply()).observe(document.body, {
  attributes: true,
  attributeFilter: ["class"],
});
document.addEventListener("click", (event) => event.target.closest("[data-theme-toggle]") && toggle());
