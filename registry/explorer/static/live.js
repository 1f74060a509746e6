// Follow the chain: when the server says that something moved, fetch this page anew and show what changed.
"use strict";

const FOLLOWED = "This page follows by itself.";
let stream = null;
let busy = false;
let again = false;

function mark() {
  return document.querySelector("[data-live]");
}

/** What can have the focus, each by its address or text and its number among those of the same one. */
function reached(part) {
  const seen = new Map();
  return Array.from(part.querySelectorAll("a[href], button, summary"), (one) => {
    const name = one.getAttribute("href") || one.textContent;
    seen.set(name, (seen.get(name) || 0) + 1);
    return [one, `${seen.get(name)} ${name}`];
  });
}

/** Put the main part and the footer of a new copy in place of those shown; keep what is open and where the focus is. */
function show(text) {
  const copy = new DOMParser().parseFromString(text, "text/html");
  for (const name of ["main", "body > footer"]) {
    const shown = document.querySelector(name);
    const fresh = copy.querySelector(name);
    if (!shown || !fresh) return;
    const open = Array.from(shown.querySelectorAll("details"), (one) => one.open);
    fresh.querySelectorAll("details").forEach((one, place) => { if (open[place]) one.open = true; });
    const focus = reached(shown).find(([one]) => one === document.activeElement);
    if (shown.innerHTML === fresh.innerHTML) continue;
    shown.replaceChildren(...fresh.childNodes);
    if (focus) reached(shown).find(([, name]) => name === focus[1])?.[0].focus({ preventScroll: true });
  }
  document.title = copy.title;
}

async function refresh() {
  again = busy;
  if (busy) return;
  busy = true;
  try {
    const answer = await fetch(location.href, { cache: "no-cache" });
    if (answer.ok) show(await answer.text());
  } catch (error) {
    // The stream says when the server is there again.
  } finally {
    busy = false;
  }
  if (!mark()) stop();
  else if (stream) mark().textContent = FOLLOWED;
  if (again) refresh();
}

function follow() {
  if (stream || document.hidden || !mark()) return;
  stream = new EventSource("/live");
  stream.addEventListener("moved", refresh);
  stream.addEventListener("error", () => {
    if (stream && stream.readyState === EventSource.CLOSED) {
      stream = null;
      if (mark()) mark().textContent = "Reload to follow it.";
    }
  });
}

function stop() {
  if (stream) stream.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? stop() : follow()));
window.addEventListener("pagehide", stop);
window.addEventListener("pageshow", follow);
follow();
