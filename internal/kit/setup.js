// What is shown comes from the server, as HTML for both the page and the widget. A
// request for a document parses it without any of the ways in which a string could
// become a script, so this works where Trusted Types are required.

const patience = 60 * 60 * 1000; // for which a page checks by itself
const slowDown = 5 * 60 * 1000; // after which it does so less often
const script = document.currentScript;

class Setup {
  constructor(root, link, language, tell) {
    Object.assign(this, { root, link, language, tell, began: Date.now(), timer: 0, request: null, shown: new WeakMap() });
    this.events = new AbortController();
    const signal = this.events.signal;
    root.addEventListener("click", (e) => this.click(e), { signal });
    root.addEventListener("submit", (e) => { e.preventDefault(); this.began = Date.now(); this.ask("POST", "check"); }, { signal });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.plan(1); }, { signal });
  }

  get view() { return this.root.querySelector(".setup"); }

  close() {
    this.events.abort();
    clearTimeout(this.timer);
    this.request?.abort();
  }

  // ask has the server show the domain as it is, or check it first.
  ask(method, what) {
    if (this.request) return;
    this.tried ||= method === "POST";
    clearTimeout(this.timer);
    const request = this.request = new XMLHttpRequest();
    const language = this.language ? "?lang=" + encodeURIComponent(this.language) : "";
    request.open(method, `${this.link}/${what}${language}`);
    request.responseType = "document";
    request.timeout = 30000;
    this.view?.setAttribute("aria-busy", "true");
    request.onloadend = () => {
      this.request = null;
      this.view?.removeAttribute("aria-busy");
      const fresh = request.response?.querySelector(".setup");
      if (fresh && (request.status < 500 || !this.view)) this.show(fresh);
      else if (!this.events.signal.aborted) this.fail();
    };
    request.send();
  }

  // show replaces those parts that have changed: what somebody reads, copies or has
  // opened stays as it is.
  show(fresh) {
    const view = this.view;
    if (!view) {
      this.root.replaceChildren(document.adoptNode(fresh));
    } else {
      view.removeAttribute("data-new");
      for (const { name, value } of fresh.attributes) view.setAttribute(name, value);
      for (const part of fresh.querySelectorAll("[data-part]")) this.replace(view, part);
      for (const part of view.querySelectorAll("[data-part]")) {
        if (!fresh.querySelector(`[data-part="${part.dataset.part}"]`)) part.replaceChildren();
      }
    }
    for (const time of this.root.querySelectorAll("time")) {
      time.textContent = new Date(time.dateTime).toLocaleTimeString(this.view.lang);
    }
    const self = this.root.querySelector(".self");
    if (self) self.textContent = this.view.dataset.self;
    const stage = this.view.dataset.stage;
    if (stage !== this.stage) this.tell?.(this.stage = stage);
    this.plan();
  }

  replace(view, part) {
    const old = view.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!old) {
      view.append(document.adoptNode(part));
      return;
    }
    old.className = part.className;
    const html = part.innerHTML;
    if ((this.shown.get(old) ?? old.innerHTML) === html) return;
    this.shown.set(old, html);
    const active = (this.root.activeElement ?? document.activeElement);
    const key = old.contains(active) ? active.dataset.key : "";
    const open = old.querySelector("details")?.open;
    old.replaceChildren(...[...part.childNodes].map((n) => document.adoptNode(n)));
    if (open && old.querySelector("details")) old.querySelector("details").open = true;
    if (key) old.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  }

  // plan has the domain checked again, unless nobody looks or that is of no use.
  plan(seconds) {
    clearTimeout(this.timer);
    const next = Number(this.view?.dataset.next ?? 5);
    const waited = Date.now() - this.began;
    if (!next || document.hidden || this.events.signal.aborted) return;
    if (waited > patience) {
      const note = this.root.querySelector(".self");
      if (note) note.textContent = this.view.dataset.stopped;
      return;
    }
    const pause = seconds ?? (!this.tried && this.view?.hasAttribute("data-new") ? 0 : waited > slowDown ? 3 * next : next);
    this.timer = setTimeout(() => this.view ? this.ask("POST", "check") : this.ask("GET", "view"), pause * 1000);
  }

  fail() {
    const language = this.view?.lang || this.language || navigator.language.split("-")[0];
    const text = failed[language] ?? failed.en;
    const note = this.root.querySelector(".self");
    if (note) note.textContent = text;
    else if (!this.view) {
      const p = document.createElement("p");
      p.setAttribute("role", "status");
      p.textContent = text;
      this.root.replaceChildren(p);
    }
    this.plan();
  }

  async click(e) {
    const button = e.target.closest("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch { // not allowed here: it is selected instead
      getSelection().selectAllChildren(button.parentElement.querySelector("code"));
      return;
    }
    const text = button.textContent;
    if (button.classList.contains("copied")) return;
    button.classList.add("copied");
    button.textContent = this.view.dataset.copied;
    setTimeout(() => { button.textContent = text; button.classList.remove("copied"); }, 2000);
  }
}

// The widget: <shingle-setup link="https://..." lang="de" theme="dark">.
class SetupElement extends HTMLElement {
  static observedAttributes = ["link", "lang"];

  connectedCallback() {
    if (!this.shadowRoot) {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(css);
      this.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
    }
    this.begin();
  }

  disconnectedCallback() { this.setup?.close(); this.setup = null; }

  attributeChangedCallback() { if (this.isConnected && this.shadowRoot) this.begin(); }

  begin() {
    this.setup?.close();
    this.shadowRoot.replaceChildren();
    const link = this.getAttribute("link");
    if (!link) return;
    this.setup = new Setup(this.shadowRoot, link, this.getAttribute("lang") ?? "", (stage) =>
      this.dispatchEvent(new CustomEvent("shingle-setup", { detail: { stage }, bubbles: true, composed: true })));
    this.setup.ask("GET", "view");
  }
}

if (!customElements.get("shingle-setup")) customElements.define("shingle-setup", SetupElement);

if (script?.dataset.link) { // one tag does it all
  const widget = document.createElement("shingle-setup");
  for (const name of ["link", "lang", "theme"]) {
    if (script.dataset[name]) widget.setAttribute(name, script.dataset[name]);
  }
  script.after(widget);
} else { // the hosted page
  const root = document.querySelector("main[data-link]");
  if (root) {
    const setup = new Setup(root, new URL(root.dataset.link, location.href).href, document.documentElement.lang);
    setup.show(root.querySelector(".setup").cloneNode(true));
  }
}
