// Light or dark: as the system has it, or as the user has chosen here.

import { byId } from "./dom.js";

const KEY = "streamgen theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const WORDS = { auto: "as the system", light: "light", dark: "dark" };

function kept() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // a browser that keeps nothing
  }
}

function use(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const words = `Light or dark: ${WORDS[theme]}`;
  byId("theme").setAttribute("aria-label", words);
  byId("theme").title = words;
}

let theme = kept() in NEXT ? kept() : "auto";
use(theme);
byId("theme").addEventListener("click", () => {
  theme = NEXT[theme];
  use(theme);
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // It holds until the page is closed.
  }
});
