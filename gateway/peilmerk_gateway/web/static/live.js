// Keeps an open page up to date: listens to /events, fetches the fragments that changed and puts them in place.
// Without this file the page is the same page, with a link to reload it.
"use strict";
(() => {
  const root = document.documentElement;
  const line = document.getElementById("live-line");
  const button = document.getElementById("live-button");
  const here = new URLSearchParams(location.search);
  const view = new URLSearchParams({ lang: root.lang, part: here.get("part") || "1" });
  const FIGURES = "dd, .latest b"; // what is shown as fresh for a moment when it changes
  const wanted = new Map();
  let source = null;
  let paused = false;
  let fetching = false;
  let again = 0;

  function show(state) {
    line.hidden = button.hidden = false;
    line.className = state;
    const text = line.lastElementChild;
    if (text.textContent !== line.dataset[state]) text.textContent = line.dataset[state];
    document.querySelector(".without-live").hidden = state !== "lost";
  }

  function place(name, version, html) {
    const old = document.getElementById(name);
    if (!old || old.dataset.fragment === version) return;
    const open = [...old.querySelectorAll("details[open]")].map((part) => part.id);
    const focus = old.contains(document.activeElement) ? document.activeElement : null;
    const summary = focus && focus.localName === "summary" ? focus.parentElement.id : null;
    const link = focus && focus.localName === "a" ? focus.getAttribute("href") : null;
    const before = [...old.querySelectorAll(FIGURES)].map((figure) => figure.textContent);
    old.innerHTML = html;
    old.dataset.fragment = version;
    old.querySelectorAll(FIGURES).forEach((figure, index) => {
      if (figure.textContent !== before[index]) figure.classList.add("fresh");
    });
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (summary) document.getElementById(summary)?.firstElementChild.focus({ preventScroll: true });
    if (link) [...old.querySelectorAll("a")].find((a) => a.getAttribute("href") === link)?.focus({ preventScroll: true });
  }

  async function fetchWanted() {
    if (fetching) return;
    fetching = true;
    try {
      while (wanted.size && !paused) {
        const names = [...wanted.keys()].slice(0, 40);
        const before = names.map((name) => wanted.get(name));
        const answer = await fetch(`/fragments?${view}&names=${names.join(",")}`);
        if (!answer.ok) throw new Error(`${answer.status}`);
        const fragments = await answer.json();
        if (paused) break;
        for (const [name, fragment] of Object.entries(fragments)) place(name, fragment.version, fragment.html);
        names.forEach((name, index) => wanted.get(name) === before[index] && wanted.delete(name));
      }
    } catch {
      restart(); // a new stream starts with every fragment, so nothing is forgotten
    } finally {
      fetching = false;
    }
  }

  function heard(event) {
    const { changed, gone } = JSON.parse(event.data);
    const strange = Object.keys(changed).some((name) => !document.getElementById(name));
    if (strange || gone.length) {
      // A sensor came or went: the page has another shape. Never more than one load in five seconds.
      again = setTimeout(() => location.reload(), Math.max(0, 5000 - performance.now()));
      return;
    }
    for (const [name, version] of Object.entries(changed)) {
      if (document.getElementById(name).dataset.fragment !== version) wanted.set(name, version);
    }
    fetchWanted();
  }

  function stop() {
    clearTimeout(again);
    source?.close();
    source = null;
  }

  function restart() {
    stop();
    if (paused) return;
    show("lost");
    again = setTimeout(start, 3000);
  }

  function start() {
    stop();
    source = new EventSource(`/events?${view}`);
    source.addEventListener("open", () => show("on"));
    source.addEventListener("fragments", heard);
    source.addEventListener("error", () => (source.readyState === EventSource.CLOSED ? restart() : show("lost")));
  }

  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? button.dataset.resume : button.dataset.pause;
    if (paused) {
      stop();
      show("paused");
    } else {
      start();
    }
  });

  // The clocks of a bench tick along; a street's own time may run many times as fast.
  const clocks = ["street-time", "here-time"].map((id) => document.getElementById(id)).filter(Boolean);
  const loaded = performance.now();
  if (clocks.length) {
    const form = { weekday: "long", day: "numeric", month: "long", year: "numeric" };
    const write = clocks.map((clock) => ({
      day: new Intl.DateTimeFormat(root.lang === "en" ? "en-GB" : root.lang, { ...form, timeZone: clock.dataset.zone }),
      time: new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: clock.dataset.zone }),
    }));
    setInterval(() => {
      if (paused) return;
      clocks.forEach((clock, index) => {
        const passed = ((performance.now() - loaded) / 1000) * Number(clock.dataset.speed);
        const at = new Date((Number(clock.dataset.at) + passed) * 1000);
        const text = `${write[index].day.format(at).replaceAll(",", "")}, ${write[index].time.format(at)}`;
        if (clock.textContent !== text) clock.textContent = text;
      });
    }, 1000);
  }

  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => event.persisted && !paused && start());
  start();
})();
