// The run page, live: the log as it is printed, and a fresh page when the state changes.
// Without JavaScript the page shows the log so far and a link to load it again.
(() => {
  const log = document.querySelector("[data-stream]");
  if (!log || !window.EventSource) return;
  const stream = new EventSource(`${log.dataset.stream}?follow=true&offset=${log.dataset.offset}`);
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  stream.addEventListener("log", (event) => {
    const follow = atEnd();
    log.append(JSON.parse(event.data).text);
    if (follow) log.scrollTop = log.scrollHeight;
  });
  stream.addEventListener("state", (event) => {
    if (JSON.parse(event.data).state !== log.dataset.state) { stream.close(); window.location.reload(); }
  });
  stream.addEventListener("end", () => { stream.close(); if (log.dataset.live) window.location.reload(); });
  log.scrollTop = log.scrollHeight;
})();
