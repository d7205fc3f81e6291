"use strict";
// Keeps the console live: pieces of the page arrive as they change, times are said as "3 min ago". Without this file
// the page still says everything; it then loads itself again every 15 seconds.
(() => {
  const body = document.body;
  const live = document.getElementById("live");
  const PATIENCE_MS = 25000; // the server speaks every 10 seconds
  let skew = Number(body.dataset.at) * 1000 - Date.now();
  let heard = Date.now();

  const now = () => Date.now() + skew;

  function span(seconds) {
    const steps = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, ""], [1, "s", 1, ""]];
    for (const [size, unit, smaller, small] of steps) {
      if (seconds < size) continue;
      const rest = small ? Math.floor((seconds % size) / smaller) : 0;
      return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${small}` : ""}`;
    }
    return "0 s";
  }

  function tell(time) {
    const at = Date.parse(time.dateTime);
    if (!time.title) time.title = time.textContent;
    const passed = span(Math.max(0, Math.round((now() - at) / 1000)));
    const style = time.dataset.style;
    time.textContent = style === "both" ? `${time.title} (${passed})` : style === "for" ? `for ${passed}` : `${passed} ago`;
  }

  function tick() {
    document.querySelectorAll("time").forEach(tell);
    if (!live) return;
    const lost = Date.now() - heard > PATIENCE_MS;
    body.classList.toggle("stale", lost);
    if (lost) {
      live.className = "live lost";
      live.textContent = `Not live for ${span((Date.now() - heard) / 1000)}: what you see is old.`;
    }
  }

  function replace(id, html) {
    const old = document.getElementById(id);
    const holder = document.createElement("template");
    holder.innerHTML = html.trim();
    const fresh = holder.content.firstElementChild;
    if (!old || !fresh) return;
    old.querySelectorAll("details[id]").forEach((was) => {
      const is = fresh.querySelector(`#${CSS.escape(was.id)}`);
      if (is) is.open = was.open;
    });
    const focus = old.contains(document.activeElement) ? document.activeElement : null;
    const links = focus ? [...old.querySelectorAll("a, summary")].indexOf(focus) : -1;
    fresh.querySelectorAll("time").forEach(tell);
    old.replaceWith(fresh);
    if (links >= 0) fresh.querySelectorAll("a, summary")[links]?.focus();
  }

  function state(html) {
    // The sentence is changed in place, and only when it says something new: it is read out aloud.
    const fresh = new DOMParser().parseFromString(html, "text/html");
    const sentence = fresh.getElementById("sentence").textContent;
    if (sentence !== document.getElementById("sentence").textContent) document.getElementById("said").textContent = sentence;
    replace("state", html);
  }

  function sort(order) {
    const table = document.getElementById("probes");
    const bodies = [];
    for (const [system, rows] of order) {
      const head = document.getElementById(system);
      if (!head) continue;
      place(head.parentElement, [head, ...rows.map((id) => document.getElementById(id)).filter(Boolean)]);
      bodies.push(head.parentElement);
    }
    if (table) place(table, [table.caption, table.tHead, ...bodies]);
  }

  function place(parent, children) {
    // Only what stands wrong is moved: a row that moves loses the keyboard's place in it.
    if (children.every((child, i) => parent.children[i] === child)) return;
    const focus = parent.contains(document.activeElement) ? document.activeElement : null;
    parent.append(...children);
    focus?.focus();
  }

  function listen() {
    const events = new EventSource(body.dataset.events);
    const alive = (at) => {
      heard = Date.now();
      skew = at * 1000 - heard;
      if (live.className === "live on") return;
      live.className = "live on";
      live.textContent = "live";
    };
    events.addEventListener("pieces", (event) => {
      const news = JSON.parse(event.data);
      alive(news.at);
      document.title = news.title;
      for (const [id, html] of Object.entries(news.pieces)) id === "state" ? state(html) : replace(id, html);
      sort(news.order);
      tick();
    });
    events.addEventListener("beat", (event) => alive(JSON.parse(event.data).at));
    events.addEventListener("again", () => location.reload());
    events.onerror = () => {
      if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 15000);
    };
  }

  tick();
  setInterval(tick, 1000);
  if (body.dataset.events) listen();
  else if (body.dataset.again) setTimeout(() => location.reload(), body.dataset.again * 1000);
})();
