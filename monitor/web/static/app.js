"use strict";
// Keeps the console live: pieces of the page arrive as they change, times count, forms answer in place. Without this
// file the page still says everything and its forms still work; it then loads itself again every 15 seconds.
(() => {
  const body = document.body;
  const live = document.getElementById("live");
  const PATIENCE_MS = 25000; // the server speaks every 10 seconds
  let skew = Number(body.dataset.at) * 1000 - Date.now();
  let heard = Date.now();

  const now = () => Date.now() + skew;

  // --- times ---------------------------------------------------------------------------------------------------------

  function span(seconds) {
    const steps = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, ""], [1, "s", 1, ""]];
    for (const [size, unit, smaller, small] of steps) {
      if (seconds < size) continue;
      const rest = small ? Math.floor((seconds % size) / smaller) : 0;
      return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${small}` : ""}`;
    }
    return "0 s";
  }

  function clock(seconds) {
    if (seconds >= 3600) return span(seconds);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }

  function tell(time) {
    if (!time.title) time.title = time.textContent;
    const passed = Math.round((now() - Date.parse(time.dateTime)) / 1000);
    const ago = span(Math.max(0, passed));
    const style = time.dataset.style;
    if (style === "due") {
      time.classList.toggle("overdue", passed > 0);
      time.textContent = passed > 0 ? `overdue for ${clock(passed)}` : `in ${clock(-passed)}`;
    } else {
      time.textContent = style === "both" ? `${time.title} (${ago})` : style === "for" ? `for ${ago}` : `${ago} ago`;
    }
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

  // --- pieces --------------------------------------------------------------------------------------------------------

  const fields = "a, summary, button, input, textarea, select";

  function replace(id, html) {
    const old = document.getElementById(id);
    const holder = document.createElement("template");
    holder.innerHTML = html.trim();
    const fresh = holder.content.firstElementChild;
    if (!old || !fresh || old.outerHTML === fresh.outerHTML) return;
    const twin = (element) => element.id && fresh.querySelector(`#${CSS.escape(element.id)}`);
    // What somebody opened or is writing stays as it is, whatever arrives.
    old.querySelectorAll("details[id]").forEach((was) => { const is = twin(was); if (is) is.open = was.open; });
    old.querySelectorAll("input[id], textarea[id], select[id]").forEach((was) => {
      const is = twin(was);
      if (!is) return;
      is.value = was.value;
      if (was.type === "checkbox") is.checked = was.checked;
    });
    const focus = old.contains(document.activeElement) ? document.activeElement : null;
    const place = focus ? [...old.querySelectorAll(fields)].indexOf(focus) : -1;
    const marked = focus && "selectionStart" in focus ? [focus.selectionStart, focus.selectionEnd] : null;
    fresh.querySelectorAll("time").forEach(tell);
    admit(fresh);
    old.replaceWith(fresh);
    const next = focus && (twin(focus) || fresh.querySelectorAll(fields)[place]);
    if (next) {
      next.focus({ preventScroll: true });
      if (marked && marked[0] !== null) try { next.setSelectionRange(...marked); } catch { /* not a text */ }
    }
  }

  function state(html) {
    // The sentence is read out aloud, and only when it says something new.
    const fresh = new DOMParser().parseFromString(html, "text/html");
    const sentence = fresh.getElementById("sentence").textContent;
    if (sentence !== document.getElementById("sentence").textContent) say(sentence);
    replace("state", html);
  }

  function say(text) {
    const said = document.getElementById("said");
    if (said) said.textContent = text;
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
    focus?.focus({ preventScroll: true });
  }

  async function refresh() {
    // A page that is made for one visitor is fetched anew; what is the same stays.
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = fresh.title;
    skew = Number(fresh.body.dataset.at) * 1000 - Date.now();
    heard = Date.now();
    const ids = (page) => [...page.querySelectorAll("main > [id]")].map((element) => element.id);
    if (ids(fresh).join() !== ids(document).join()) {
      const main = document.getElementById("main");
      if (!main.querySelector("textarea:focus, input:focus")) main.innerHTML = fresh.getElementById("main").innerHTML;
    } else {
      ids(fresh).forEach((id) => { if (id !== "said") replace(id, fresh.getElementById(id).outerHTML); });
    }
    admit(document);
    tick();
  }

  function listen() {
    const events = new EventSource(body.dataset.events);
    const alive = (at) => {
      heard = Date.now();
      skew = at * 1000 - heard;
      if (!live || live.className === "live on") return;
      live.className = "live on";
      live.textContent = "live";
    };
    events.addEventListener("pieces", (event) => {
      const news = JSON.parse(event.data);
      alive(news.at);
      if (body.dataset.refresh) {
        if (body.dataset.refresh === "all" || news.pieces.incidents) refresh();
        return;
      }
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

  // --- acting --------------------------------------------------------------------------------------------------------

  function admit(page) {
    // Forms carry the secret of this visitor's session; the pieces of the page are the same for everybody.
    page.querySelectorAll('input[name="csrf"]').forEach((field) => { field.value = body.dataset.csrf; });
  }

  async function recognise() {
    // A browser sends no cookie of ours when it comes from another site, as from a link in a chat: ask once more.
    if (body.dataset.csrf || !body.dataset.root) return;
    const answer = await fetch(`${body.dataset.root}session`);
    const known = answer.ok ? await answer.json() : {};
    if (!known.csrf) return;
    body.dataset.csrf = known.csrf;
    body.classList.replace("anonymous", "known");
    document.querySelectorAll(".visitor").forEach((place) => { place.textContent = known.name; });
    admit(document);
  }

  async function act(form) {
    const said = form.querySelector(".answer");
    const buttons = form.querySelectorAll("button");
    buttons.forEach((button) => { button.disabled = true; });
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        headers: { Accept: "application/json" },
      });
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.error);
      form.reset();
      form.querySelectorAll("textarea, input[id]").forEach((field) => { field.value = field.defaultValue; });
      const details = form.closest("details");
      if (details) details.open = false;
      if (said) said.textContent = "";
      say(told.said);
      if (body.dataset.refresh) await refresh();
    } catch (error) {
      if (said) said.textContent = error.message;
    } finally {
      buttons.forEach((button) => { button.disabled = false; });
    }
  }

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    let text = source ? source.textContent : "";
    try {
      if (button.dataset.fetch) text = (await (await fetch(button.dataset.fetch)).json()).status_update;
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      if (source) getSelection().selectAllChildren(source);
      button.textContent = source ? "Press Ctrl+C" : "Not copied";
    }
    setTimeout(() => { button.textContent = button.dataset.label; }, 3000);
  }

  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form.act")) return;
    event.preventDefault();
    act(event.target);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copy]");
    if (button) copy(button);
  });

  const given = location.hash.match(/^#token=([\w-]+)$/); // of the address that the sandbox prints
  if (given && document.getElementById("token")) {
    document.getElementById("token").value = given[1];
    history.replaceState(null, "", location.pathname + location.search);
  }
  body.classList.add("scripted");
  admit(document);
  recognise();
  tick();
  setInterval(tick, 1000);
  if (body.dataset.events) listen();
  if (body.dataset.again) setInterval(refresh, body.dataset.again * 1000);
})();
