// What goes on at the hub while one looks. The order's page: the log as it is printed, the bill as it grows while its run lives.
// Without JavaScript the page shows both as they are, and a link to load it again.
(() => {
  // The log's own buttons: to follow its end or stay where one reads, and to wrap its lines.
  const log = document.querySelector("[data-stream]");
  const tools = document.querySelector("[data-log-tools]");
  const followed = tools?.querySelector("[data-log-follow]");
  const toEnd = () => { log.scrollTop = log.scrollHeight; };
  const pressed = (button, on) => button.setAttribute("aria-pressed", on);
  const isFollowed = () => followed?.getAttribute("aria-pressed") === "true";
  if (log && tools) {
    tools.hidden = false;
    tools.querySelector("[data-log-wrap]").addEventListener("click", (event) => {
      pressed(event.currentTarget, !log.classList.toggle("unwrapped"));
    });
    followed?.addEventListener("click", () => { pressed(followed, !isFollowed()); if (isFollowed()) toEnd(); });
    // Who scrolls up wants to read; who scrolls to the end wants to follow.
    log.addEventListener("scroll", () => {
      if (followed) pressed(followed, log.scrollHeight - log.scrollTop - log.clientHeight < 40);
    });
    toEnd();
  }

  const page = document.querySelector("[data-now]");
  if (!page) return;
  const every = "whole" in page.dataset ? 500 : 2000;

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
    if (more) setTimeout(tick, every);
    else if ("whole" in page.dataset) location.reload(); // all of the page is another one now
  };
  setTimeout(tick, every);

  if (!log || !log.dataset.live || !window.EventSource) return;
  const stream = new EventSource(`${log.dataset.stream}?follow=true&offset=${log.dataset.offset}`);
  stream.addEventListener("log", (event) => {
    const follow = isFollowed();
    log.append(JSON.parse(event.data).text);
    if (follow) toEnd();
  });
  stream.addEventListener("end", () => { stream.close(); if (followed) followed.hidden = true; refresh(); });
})();
