// Attention: a map per layer and head, and one of its cells written out.

const HOW = {
  softmax: "weight = softmax over what is seen of (q · k × scale): every row of the map sums to 1, and what is read is the weighted sum of the values.",
  equivalent: "No such matrix is ever made: the part keeps a state. But what it reads is linear in the values, so these factors are exact; they need not sum to 1, and may be negative.",
  share: "Every channel is a decaying sum of its own; shown is the share of the state that came from each position, averaged over channels.",
  gradient: "This part is not linear in what it reads, so it has no weights. Shown is how strongly the output at a position answers to a change of each input, every row scaled to sum 1.",
};

section("attention", "Attention: who reads whom",
  () => "Row: the token that reads. Column: the token that is read. Choose a layer, a head and a cell (arrow keys move it); the cell's number is worked out beside the map.",
  (view, panel) => {
    const d = view.data, names = d.mixers.map((m, i) => [i, `${spoken(m.path)}${d.mixers.filter(o => o.path === m.path && o.layer === m.layer).length > 1 ? ` (${d.mixers.slice(0, i).filter(o => o.path === m.path && o.layer === m.layer).length ? "right to left" : "left to right"})` : ""}`]);
    const choose = h("select", { "aria-label": "layer", "data-test": "layer", onchange: e => view.set({ mixer: +e.target.value, head: 0 }) }, names.map(([i, n]) => h("option", { value: i }, n)));
    panel.append(h("div", { class: "pick" }, h("label", {}, "Layer ", choose)));
    const heads = panel.appendChild(h("div", { class: "heads", role: "group", "aria-label": "heads" })), how = panel.appendChild(h("p", { class: "small soft" }));
    const both = panel.appendChild(h("div", { class: "attend" })), left = both.appendChild(h("div", {})), right = both.appendChild(h("div", { "aria-live": "polite", "data-test": "cell" }));
    const holder = left.appendChild(h("div", { class: "map" })), key = left.appendChild(h("div", {}));
    let drawn = "", layout = null;
    return () => {
      const m = d.mixers[view.mixer], W = m.weights, [H, T, S] = W.shape, columns = m.reads === 0 && d.source ? d.source : d.tokens;
      if (d.source && m.side !== d.sides.length - 1) { // the encoder's own rows are tokens of the source
        view.r = Math.min(view.r ?? 0, T - 1);
      } else view.r = Math.min(view.t, T - 1);
      const rows = T === (d.source || []).length && m.side === 0 && d.source ? d.source : d.tokens, r = view.r;
      view.s = Math.min(view.s, S - 1);
      choose.value = view.mixer;
      how.textContent = HOW[m.how];
      const negative = isSigned(W.values), top = largest(W.values.subarray(view.head * T * S, (view.head + 1) * T * S)), colour = v => negative ? signed(v / top) : shade(v / top);
      const state = `${view.mixer}/${theme()}`;
      if (drawn !== state) {
        heads.replaceChildren(...Array.from({ length: H }, (_, n) => {
          const part = W.values.subarray(n * T * S, (n + 1) * T * S), mine = largest(part);
          return h("button", { "aria-pressed": n === view.head, "aria-label": `head ${n}`, onclick: () => view.set({ head: n }) }, thumbnail(part, T, S, Math.max(1, Math.min(4, Math.floor(72 / Math.max(T, S)))), v => negative ? signed(v / mine) : shade(v / mine)), h("span", {}, `head ${n}`));
        }));
        drawn = state;
      }
      [...heads.children].forEach((b, n) => b.setAttribute("aria-pressed", n === view.head));
      layout = map(holder, { rows, columns, T, S, value: (i, j) => W.at(view.head, i, j), seen: (i, j) => !m.seen || m.seen[i][j] === "1", colour, r, s: view.s, label: `attention of ${spoken(m.path)}, head ${view.head}`,
        pick: (i, j) => view.set(d.source && m.side !== d.sides.length - 1 ? { r: i, s: j } : { t: i, s: j, r: i }) });
      key.replaceChildren(legend(negative ? `−${num(top, 3)}` : "0", num(top, 3), x => negative ? signed(2 * x - 1) : shade(x), m.seen ? "empty: hidden by the mask" : ""));
      right.replaceChildren(...cell(view, m, rows, columns, r, view.s, view.head));
    };
  }, view => view.data.mixers.length);

// the map itself: a canvas that takes the focus and the arrow keys
const map = (holder, o) => {
  const label = i => o.what ? o.rows[i].text : visible(o.rows[i].text), room = holder.clientWidth || 560, gutter = o.what ? 76 : 84, size = Math.max(7, Math.min(26, Math.floor(Math.min((room - gutter) / o.S, 620 / Math.max(o.T, 12))))), scale = window.devicePixelRatio || 1;
  let canvas = holder.querySelector("canvas");
  if (!canvas) {
    canvas = holder.appendChild(h("canvas", { tabindex: 0, role: "img", "data-test": "map" }));
    const find = e => { const b = canvas.getBoundingClientRect(), q = canvas.q; return [Math.floor((e.clientY - b.top - q.gutter) / q.size), Math.floor((e.clientX - b.left - q.gutter) / q.size)]; };
    const inside = (i, j) => i >= 0 && j >= 0 && i < canvas.q.T && j < canvas.q.S;
    canvas.addEventListener("click", e => { const [i, j] = find(e); if (inside(i, j)) canvas.q.pick(i, j); });
    canvas.addEventListener("mousemove", e => { const [i, j] = find(e), q = canvas.q; canvas.title = inside(i, j) ? `${q.name(i)} ${q.what || "reads"} ${visible(q.columns[j].text)}: ${q.seen(i, j) ? num(q.value(i, j)) : "hidden"}` : ""; });
    canvas.addEventListener("keydown", e => {
      const q = canvas.q, move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[e.key];
      if (!move) return;
      e.preventDefault();
      e.stopPropagation();
      q.pick(Math.max(0, Math.min(q.T - 1, q.r + move[0])), Math.max(0, Math.min(q.S - 1, q.s + move[1])));
    });
  }
  canvas.q = { ...o, size, gutter, name: label };
  canvas.setAttribute("aria-label", `${o.label}: ${label(o.r)} ${o.what || "reads"} ${o.columns[o.s].text} with ${o.seen(o.r, o.s) ? num(o.value(o.r, o.s)) : "nothing, it is hidden"}; arrow keys choose another cell`);
  const width = gutter + o.S * size + 2, height = gutter + o.T * size + 2;
  Object.assign(canvas, { width: width * scale, height: height * scale });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  const c = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), soft = style.getPropertyValue("--soft"), accent = style.getPropertyValue("--warm");
  c.scale(scale, scale);
  for (let i = 0; i < o.T; i++) for (let j = 0; j < o.S; j++) {
    if (!o.seen(i, j)) continue;
    c.fillStyle = rgb(o.colour(o.value(i, j)));
    c.fillRect(gutter + j * size, gutter + i * size, size - (size > 9 ? 1 : 0), size - (size > 9 ? 1 : 0));
  }
  c.font = `${Math.min(12, size + 2)}px ui-monospace, Menlo, Consolas, monospace`;
  const cut = v => { return v.length > 10 ? v.slice(0, 9) + "…" : v; };
  const every = size >= 9 ? 1 : 2;
  c.textBaseline = "middle";
  for (let i = 0; i < o.T; i++) if (i % every === 0 || i === o.r) { c.fillStyle = i === o.r ? accent : soft; c.textAlign = "right"; c.fillText(cut(label(i)), gutter - 5, gutter + (i + .5) * size); }
  for (let j = 0; j < o.S; j++) if (j % every === 0 || j === o.s) { c.save(); c.translate(gutter + (j + .5) * size, gutter - 5); c.rotate(-Math.PI / 2); c.textAlign = "left"; c.fillStyle = j === o.s ? accent : soft; c.fillText(cut(visible(o.columns[j].text)), 0, 0); c.restore(); }
  c.strokeStyle = accent; c.lineWidth = 2.5;
  c.strokeRect(gutter + o.s * size - 1.25, gutter + o.r * size - 1.25, size + 1.5, size + 1.5);
  return canvas.q;
};

const terms = (a, b, most = 4) => {
  const each = Array.from(a, (x, i) => [x * b[i], x, b[i]]), order = each.map((_, i) => i).sort((i, j) => Math.abs(each[j][0]) - Math.abs(each[i][0])), head = order.slice(0, most).sort((i, j) => i - j), rest = order.slice(most);
  const say = i => `${num(each[i][1], 3)} · ${each[i][2] < 0 ? `(${num(each[i][2], 3)})` : num(each[i][2], 3)}`;
  return { total: each.reduce((x, e) => x + e[0], 0), few: head.map(say).join(" + "), rest: rest.reduce((x, i) => x + each[i][0], 0), left: rest.length, all: each.map((_, i) => say(i)).join(" + ") };
};
const written = (name, t) => h("div", { class: "formula" }, name, t.few, t.left ? h("span", { class: "dim" }, ` + ${t.left} smaller terms, together ${num(t.rest, 3)}`) : "", " = ", h("span", { class: "eq" }, num(t.total)), t.left ? h("details", {}, h("summary", {}, `all ${t.left + 4} terms`), t.all) : null);

// one cell as the texts write it: products, sum, scaling, mask, softmax, and the value that is read
const cell = (view, m, rows, columns, t, s, head) => {
  const H = m.heads, weight = m.weights.at(head, t, s), reader = visible(rows[t].text), read = visible(columns[s].text), out = [];
  out.push(h("h3", { style: "margin-top:0" }, "“", h("span", { class: "mono" }, reader), "” reads “", h("span", { class: "mono" }, read), "”: ", h("span", { class: "num", "data-test": "weight" }, m.seen && m.seen[t][s] !== "1" ? "0" : num(weight))));
  const hidden = m.seen && m.seen[t][s] !== "1", plain = !m.mixing && m.q && m.k && m.how === "softmax";
  if (plain) {
    const group = h2 => Math.floor(h2 / (H / m.k.shape[0]));
    const score = j => {
      let x = 0; const q = m.q.row(head, t), k = m.k.row(group(head), j);
      for (let i = 0; i < q.length; i++) x += q[i] * k[i];
      x *= m.scale;
      if (m.soft_cap) x = m.soft_cap * Math.tanh(x / m.soft_cap);
      return m.bias ? x + m.bias.at(m.bias.shape[0] > 1 ? head : 0, t, j) : x;
    };
    const product = terms(m.q.row(head, t), m.k.row(group(head), s)), scaled = product.total * m.scale;
    out.push(written("q · k = ", product));
    const line = [`× scale ${num(m.scale)} = `, h("span", { class: "eq", "data-test": "score" }, num(scaled))];
    if (m.soft_cap) line.push(`; ${num(m.soft_cap)} · tanh(that / ${num(m.soft_cap)}) = ${num(m.soft_cap * Math.tanh(scaled / m.soft_cap))}`);
    if (m.bias) line.push(` + bias ${num(m.bias.at(m.bias.shape[0] > 1 ? head : 0, t, s))} = `, h("span", { class: "eq" }, num(score(s))));
    out.push(h("div", { class: "formula" }, line));
    if (hidden) out.push(h("div", { class: "formula" }, "mask: this key is hidden (score −∞), so its weight is e^−∞ = ", h("span", { class: "eq" }, "0")));
    else {
      const seen = Array.from({ length: m.weights.shape[2] }, (_, j) => j).filter(j => !m.seen || m.seen[t][j] === "1"), scores = seen.map(score), top = Math.max(...scores, ...(m.sinks ? [m.sinks[head]] : []));
      const e = scores.map(x => Math.exp(x - top)), sink = m.sinks ? Math.exp(m.sinks[head] - top) : 0, sum = e.reduce((a, b) => a + b, sink), order = seen.map((_, i) => i).sort((a, b) => e[b] - e[a]).slice(0, 4).sort((a, b) => a - b);
      out.push(h("div", { class: "formula", "data-test": "softmax" }, `softmax = e^${num(score(s), 3)} / (`, order.map(i => `e^${num(scores[i], 3)}`).join(" + "), seen.length > 4 ? h("span", { class: "dim" }, ` + ${seen.length - 4} more`) : "", m.sinks ? ` + sink e^${num(m.sinks[head], 3)}` : "", ") = ", h("span", { class: "eq", "data-test": "softmax-value" }, num(Math.exp(score(s) - top) / sum))));
      if (m.outside && m.outside.at(head, t) > 1e-6) out.push(h("p", { class: "small soft" }, `${percent(m.outside.at(head, t))} of this row lies on earlier tokens that are not shown, so the sum here is not the whole one.`));
    }
  } else if (m.mixing) {
    out.push(h("div", { class: "formula" }, "weight = ", m.mixing[head].map((f, i) => [f, i]).filter(([f]) => f).map(([f, i]) => `${num(f, 3)} · map ${i} (${m.maps ? num(m.maps.at(i, t, s), 3) : "…"})`).join(" + "), " = ", h("span", { class: "eq" }, num(weight))));
  } else if (m.how === "equivalent" && m.q && m.k) {
    const product = terms(m.q.row(Math.floor(head / (H / m.q.shape[0])), t), m.k.row(Math.floor(head / (H / m.k.shape[0])), s)), kept = m.decay ? m.decay.at(head, t) - m.decay.at(head, s) : 0;
    const whole = product.total * (s > t ? 0 : Math.exp(kept)) / (m.divisor ? m.divisor.at(head, t) : 1);
    out.push(written("q · k = ", product));
    if (m.decay && s <= t) out.push(h("div", { class: "formula" }, `× e^${num(kept)}, what the state has kept over ${t - s} position${t - s === 1 ? "" : "s"} = `, h("span", { class: "eq" }, num(product.total * Math.exp(kept)))));
    if (s > t) out.push(h("div", { class: "formula" }, "a later position is not in the state yet: ", h("span", { class: "eq" }, "0")));
    else if (m.divisor) out.push(h("div", { class: "formula" }, `÷ the sum of weights ${num(m.divisor.at(head, t))} = `, h("span", { class: "eq", "data-test": "equivalent" }, num(whole))));
    out.push(h("p", { class: "small soft" }, "No such matrix is ever made: the state holds the sum of k · v of all positions so far, and q reads it once."));
  } else out.push(h("p", { class: "small soft" }, m.how === "softmax" ? "The page had no room for queries and keys, or the part mixes its heads; the weight is the real one." : m.how === "equivalent" ? "The state was corrected, or decayed channel by channel, between that position and this one: the factor is what is left of it, exactly." : "A sensitivity, no weight: see above."));
  const total = Array.from(m.weights.row(head, t)).map((w, j) => [w, j]).filter(([w]) => w).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, 6), top = Math.abs((total[0] || [1])[0]);
  out.push(h("h3", {}, "What this row reads"), h("table", { class: "tight" }, h("tbody", {}, total.map(([w, j]) => h("tr", { class: j === s ? "on" : "" }, h("td", {}, tok(columns[j].text)), h("td", { class: "r num" }, num(w, 3)), h("td", {}, bar(w / top, { class: w < 0 ? "down" : "" })))))));
  if (m.v && m.how !== "gradient" && m.how !== "share" && m.v.shape[0]) {
    const G = m.v.shape[0], g = Math.floor(head / (H / G)), row = m.weights.row(head, t), V = m.v.shape[2], first = Float32Array.from(row, (_, j) => m.v.at(g, j, view.channel % V));
    out.push(h("h3", {}, "The context vector"), h("p", { class: "small soft" }, `Each of its ${V} numbers is the weighted sum of that channel of the values`, m.context_norm ? `; its length is ${num(m.context_norm.at(head, t))}` : "", ". Channel ", h("input", { type: "number", min: 0, max: V - 1, value: view.channel % V, "aria-label": "channel of the context vector", style: "width:4.2rem;font:inherit;background:var(--hush);color:inherit;border:1px solid var(--line);border-radius:6px", onchange: e => view.set({ channel: Math.max(0, Math.min(V - 1, +e.target.value || 0)) }) }), ":"),
      written("", terms(row, first)));
  }
  return out;
};
const spoken = path => {
  const w = path.split("."), at = w.lastIndexOf("layers");
  if (at < 0 || w[at + 1] === undefined) return path;
  const rest = w.slice(at + 2).filter(x => x !== "block").join(" "), side = at > 0 && w[at - 1] !== "stack" ? `${w[at - 1]} ` : "";
  return `${side}layer ${w[at + 1]}${rest ? ` · ${rest}` : ""}`;
};
