// Puts it together: one view per model, side by side where there are two.

class View {
  constructor(data, index) {
    this.data = unpack(data);
    this.index = index;
    const written = this.data.generation && this.data.generation.steps.length ? this.data.generation.steps[0].position - this.data.first : Math.max(this.data.tokens.findIndex(x => x.text === "<mask>"), this.data.tokens.some(x => x.text === "<mask>") ? 0 : this.data.tokens.length - 1);
    Object.assign(this, { t: Math.max(0, Math.min(written, this.data.tokens.length - 1)), mixer: 0, head: 0, s: 0, r: 0, channel: 0, updates: [] });
    const last = this.data.mixers.findLastIndex ? this.data.mixers.findLastIndex(m => m.side === this.data.sides.length - 1) : this.data.mixers.length - 1;
    this.mixer = Math.max(0, last);
    this.sharpest();
  }
  word(i) { return this.data.words[i] ?? String(i); }
  // the cell that is chosen at first: the strongest look of the chosen row at another token
  sharpest() {
    const look = ((this.data.answers[this.t] || { sentences: [] }).sentences.find(x => x.at) || {}).at;
    if (look) { Object.assign(this, { mixer: look[0], head: look[1], s: look[2] }); return; }
    let best = -1;
    this.data.mixers.forEach((m, n) => {
      if (m.side !== this.data.sides.length - 1 || this.t >= m.weights.shape[1]) return;
      for (let head = 0; head < m.heads; head++) m.weights.row(head, this.t).forEach((w, j) => { if ((m.crossed || j !== this.t) && Math.abs(w) > best) { best = Math.abs(w); Object.assign(this, { mixer: n, head, s: j }); } });
    });
  }
  set(changes) {
    Object.assign(this, changes);
    if (changes.t !== undefined) for (const other of glass.views) if (other !== this && other.data.tokens.length === this.data.tokens.length) other.t = this.t;
    glass.update();
  }
}

const glass = window.glass = {
  shade,
  signed,
  views: [],
  update() { for (const v of glass.views) for (const f of v.updates) f(); },
};

const start = () => {
  const page = document.getElementById("page"), given = JSON.parse(document.getElementById("data").textContent);
  const wish = (() => { try { return localStorage.getItem("glass-box-theme"); } catch { return null; } })();
  document.documentElement.dataset.theme = wish || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  glass.views = given.traces.map((d, i) => new View(d, i));
  const views = glass.views, two = views.length > 1;
  page.style.setProperty("--n", views.length);
  page.classList.toggle("two", two);

  const toggle = h("button", { "data-test": "theme", "aria-label": "switch between light and dark", onclick: () => {
    const next = theme() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem("glass-box-theme", next); } catch { /* a page from a file may not keep it */ }
    glass.update();
  } }, "◐", h("span", { class: "word" }, " light / dark"));
  page.append(h("header", {}, h("div", {}, h("h1", {}, two ? `${views[0].data.name}  and  ${views[1].data.name}` : views[0].data.name), h("p", { class: "soft", style: "margin:0" }, views.map(v => `${v.data.model.label}, ${many(v.data.facts.parameters)} parameters, ${v.data.trained}`).join("  ·  "))), toggle));

  const order = ["answer", "network", "text", "attention", "stream", "neurons", "logits", "said", "model", "gradients"];
  SECTIONS.sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
  const sections = SECTIONS.filter(s => views.some(v => s.needs(v)));
  const named = s => typeof s.title === "function" ? s.title(views.find(v => s.needs(v))) : s.title;
  page.append(h("nav", { class: "top", "aria-label": "sections" }, (two ? [{ id: "compare", title: "What the swap changed" }] : []).concat(sections).map(s => h("a", { href: `#${s.id}` }, named(s)))));
  const strip = page.appendChild(h("div", { class: "strip" })), inner = strip.appendChild(h("div", { class: "inner pair" }));
  for (const v of views) if (v.data.tokens.length) inner.append(tokens(v));

  const main = page.appendChild(h("main", {}));
  if (two) main.append(compare(given, views));
  for (const s of sections) {
    const node = main.appendChild(h("section", { id: s.id, "aria-labelledby": `${s.id}-title` }, h("h2", { id: `${s.id}-title` }, named(s))));
    if (!two) node.append(h("p", { class: "lead" }, s.lead(views[0])));
    const pair = node.appendChild(h("div", { class: "pair" }));
    for (const v of views) {
      const panel = pair.appendChild(h("div", { class: "one" }));
      if (two) panel.append(h("p", { class: "side-name" }, v.data.name));
      if (two && s.needs(v)) panel.append(h("p", { class: "lead small" }, s.lead(v)));
      if (s.needs(v)) v.updates.push(s.make(v, panel));
      else panel.append(h("p", { class: "soft" }, "This one has nothing of the kind."));
    }
  }
  const notes = [...new Set(views.flatMap(v => v.data.notes))];
  page.append(h("footer", {}, notes.map(n => h("p", {}, n)), h("p", {}, `${given.about} Numbers are shown with three or four digits and kept with ${views.some(v => v.data.mixers.some(m => m.weights.values && given.bits === 16)) ? "three" : "six"} or more.`)));
  glass.update();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; glass.update(); } });
};

// the text as buttons: Left and Right go through it, Home and End to its ends
const tokens = v => {
  const d = v.data, list = h("div", { class: "tokens", role: "toolbar", "aria-label": `tokens of ${d.name}`, "data-test": "tokens" });
  const buttons = d.tokens.map((x, t) => list.appendChild(h("button", { class: `tok ${x.role} ${x.special ? "special" : ""}`, "aria-label": `token ${t + 1 + d.first}: ${x.text}${x.role === "written" ? ", written by the model" : ""}`, title: `id ${x.id}`, tabindex: -1, onclick: () => v.set({ t }) }, visible(x.text))));
  list.addEventListener("keydown", e => {
    const go = { ArrowLeft: v.t - 1, ArrowRight: v.t + 1, Home: 0, End: d.tokens.length - 1 }[e.key];
    if (go === undefined) return;
    e.preventDefault();
    v.set({ t: Math.max(0, Math.min(d.tokens.length - 1, go)) });
    buttons[v.t].focus();
  });
  v.updates.push(() => buttons.forEach((b, t) => {
    b.setAttribute("aria-current", t === v.t);
    b.tabIndex = t === v.t ? 0 : -1;
    b.classList.toggle("next", !d.why_not && t === v.t + 1);
  }));
  const how = d.says !== "tokens" ? "" : d.source ? "It has read the source; what is dashed it wrote itself." : d.why_not ? `It continues no text: ${d.why_not}.` : `${d.given - d.begins} ${d.given - d.begins === 1 ? "token was" : "tokens were"} given, what follows (dashed) it wrote itself.`;
  return h("div", { class: "one" }, d.source ? h("div", { class: "hint" }, "source: ", h("span", { class: "mono" }, d.source.map(x => x.special ? "" : x.text).join(""))) : null, list, d.tokens.length > 1 ? h("p", { class: "hint" }, how, d.says === "tokens" && !d.why_not ? " Choose one; ← and → move. Outlined: the token that follows." : " Choose one; ← and → move.") : h("p", { class: "hint" }, "what it was given"));
};

const compare = (given, views) => {
  const [a, b] = views.map(v => v.data), c = given.compare, rows = [];
  for (const f of c.facts) rows.push(h("tr", {}, h("td", {}, f.name), h("td", { class: "num r" }, f.bytes ? bytes(f.a) : f.big ? many(f.a) : num(f.a)), h("td", { class: "num r" }, f.bytes ? bytes(f.b) : f.big ? many(f.b) : num(f.b)), h("td", { class: "num r" }, f.a ? `${f.b >= f.a ? "+" : "−"}${percent(Math.abs(f.b / f.a - 1))}` : "")));
  const node = h("section", { id: "compare" }, h("h2", {}, "What the swap changed"), h("p", { class: "lead" }, "Left and right are two models on the same text. First what differs in their configs, then what came of it."));
  node.append(c.difference.length ? h("ul", { class: "mono small" }, c.difference.map(x => h("li", {}, x))) : h("p", {}, "Their configs are the same."));
  node.append(h("div", { class: "scroll" }, h("table", { "data-test": "compare" }, h("thead", {}, h("tr", {}, h("th", {}, ""), h("th", { class: "r" }, a.name), h("th", { class: "r" }, b.name), h("th", { class: "r" }, "change"))), h("tbody", {}, rows))));
  if (c.tokens.length) node.append(h("h3", {}, "Each token of the prompt"), h("p", { class: "small soft" }, "Probability that either gave to the token, knowing what stands before it."), h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "token"), h("th", { class: "r" }, a.name), h("th", { class: "r" }, b.name), h("th", {}, "log of their ratio"))), h("tbody", {}, c.tokens.map(([text, p, q]) => h("tr", {}, h("td", {}, tok(text)), h("td", { class: "num r" }, num(p, 3)), h("td", { class: "num r" }, num(q, 3)), h("td", {}, bar(Math.log(q / p) / 5, { class: q < p ? "down" : "" }), h("span", { class: "num small" }, ` ${num(Math.log(q / p), 2)}`))))))));
  return node;
};

start();
