// What pages of the panel do besides being pages: copy, look again, check. All of it can
// be done without.
"use strict";
document.documentElement.classList.add("js");

const shown = document.getElementById("announce");
const announce = text => { if (shown) shown.textContent = text; };

// Where one is, on a screen too narrow for all that there is.
document.querySelector(".top nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

// Buttons that copy the value beside them.
document.addEventListener("click", async event => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch { // not a secure page: select it, so that the keyboard can copy it
    const value = button.parentElement.querySelector("code");
    if (value) getSelection().selectAllChildren(value);
    return;
  }
  const text = button.textContent;
  button.textContent = "Copied";
  button.classList.add("done");
  announce("Copied " + button.dataset.copy);
  setTimeout(() => { button.textContent = text; button.classList.remove("done"); }, 2000);
});

// A slash goes to the search field.
document.addEventListener("keydown", event => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  const field = document.querySelector("input[type=search]");
  if (field) { event.preventDefault(); field.focus(); }
});

// part asks for a part of a page. Who is no longer signed in loads the page anew, and
// signs in.
async function part(address, options = {}) {
  const answer = await fetch(address, { ...options, headers: { "Shingle-Part": "1" } });
  if (answer.status === 401 || answer.status === 404) { location.reload(); }
  if (!answer.ok) throw new Error("status " + answer.status);
  return answer.text();
}

// replace puts new content in the place of what has its IDs, unless it is the same or
// somebody is at work in it.
function replace(html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  for (const now of [...fresh.content.children]) {
    const element = document.getElementById(now.id);
    if (!element || now.outerHTML === element.outerHTML) continue;
    const active = document.activeElement;
    if (element.contains(active) && !(active.id && now.querySelector("#" + CSS.escape(active.id)))) continue;
    element.replaceWith(now);
    if (active.id && !active.isConnected) document.getElementById(active.id)?.focus();
  }
}

const watched = document.querySelector("[data-live]");
if (watched) {
  const began = Date.now();
  const form = document.querySelector("form[data-check]");
  let headline = watched.dataset.headline;
  let asking = false;
  const live = () => document.querySelector("[data-live]");

  const look = async () => {
    if (asking) return;
    asking = true;
    let changed = false;
    try {
      replace(await part(live().dataset.live));
      changed = live().dataset.headline !== headline;
      if (changed) announce(headline = live().dataset.headline);
    } catch { /* the next look may succeed */ } finally { asking = false; }
    if (changed && form) check(); // what is shown of DNS is of before
  };

  const check = async () => {
    const button = form.querySelector("button");
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      replace(await part(form.action, { method: "POST" }));
      await look();
    } catch { /* the next check may succeed */ } finally { button.removeAttribute("aria-busy"); }
  };
  form?.addEventListener("submit", event => { event.preventDefault(); check(); });

  // Events come at once, where they can; and a look now and then misses nothing.
  if (watched.dataset.stream) {
    const stream = new EventSource(watched.dataset.stream);
    for (const type of watched.dataset.types.split(" ")) stream.addEventListener(type, look);
    addEventListener("pagehide", () => stream.close());
  }
  const every = watched.dataset.every;
  setInterval(() => { if (!document.hidden && !(every && live().dataset.settled)) look(); }, 1000 * (every || 15));

  // While a domain is not ready and somebody looks on, it is checked again and again.
  const patience = 30 * 60 * 1000;
  const again = () => { if (form && !document.hidden && !live().dataset.settled && Date.now() - began < patience) check(); };
  again();
  setInterval(again, 10000);
}
