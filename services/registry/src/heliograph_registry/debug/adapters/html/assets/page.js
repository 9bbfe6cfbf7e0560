// Replaces fragments of the page with newer ones from the server. The page can be read without it.
"use strict";

const address = document.body.dataset.events;
const pause = document.getElementById("pause");
let events = null;

function show(fragments) {
  for (const [id, html] of Object.entries(fragments)) {
    const element = document.getElementById(id);
    if (element !== null) element.innerHTML = html;
  }
}

function end() {
  events.close();
  for (const element of document.querySelectorAll("[data-while-running]")) {
    if (element.contains(document.activeElement)) document.getElementById("content").focus();
    element.remove();
  }
}

function follow() {
  events = new EventSource(address);
  events.addEventListener("fragments", (event) => show(JSON.parse(event.data)));
  events.addEventListener("over", end);
}

if (address) follow();

if (address && pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") === "true";
    pause.setAttribute("aria-pressed", String(!paused));
    if (paused) follow();
    else events.close();
  });
}
