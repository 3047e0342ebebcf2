// The order's page while its run lives: the log as it is printed, the bill as it grows.
// Without JavaScript the page shows both as they are, and a link to load it again.
(() => {
  const EVERY_MS = 2000;
  const page = document.querySelector("[data-now]");
  const log = document.querySelector("[data-stream]");
  if (!page) return;

  // Replaces what changed, by id; leaves alone what the reader's keyboard is in.
  const refresh = async () => {
    const answer = await fetch(page.dataset.now, { credentials: "same-origin" });
    if (!answer.ok) return true;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of fresh.querySelectorAll("[data-fresh]")) {
      const old = document.getElementById(part.id);
      if (old && old.outerHTML !== part.outerHTML && !old.contains(document.activeElement)) old.replaceWith(part);
    }
    return document.getElementById("now-head").dataset.fresh !== "done";
  };
  const tick = async () => {
    let more = true;
    try { more = document.hidden || (await refresh()); } catch { /* the network is away: try again */ }
    if (more) setTimeout(tick, EVERY_MS);
  };
  setTimeout(tick, EVERY_MS);

  if (!log || !log.dataset.live || !window.EventSource) return;
  const stream = new EventSource(`${log.dataset.stream}?follow=true&offset=${log.dataset.offset}`);
  stream.addEventListener("log", (event) => {
    const follow = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(JSON.parse(event.data).text);
    if (follow) log.scrollTop = log.scrollHeight;
  });
  stream.addEventListener("end", () => { stream.close(); refresh(); });
  log.scrollTop = log.scrollHeight;
})();
