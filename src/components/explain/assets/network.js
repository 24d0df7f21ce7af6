// A small network whole: every weight on its line, every neuron in its circle, the sum written out.

section("network", "The whole network, number by number",
  view => `All ${view.data.network.layers.reduce((n, l) => n + l.weights.length * l.weights[0].length, 0)} weights on their lines (blue adds, orange and dashed takes away, thicker is stronger) and every neuron in its circle. Choose a neuron, with the mouse or with Tab and the arrow keys, to see its sum.`,
  (view, panel) => {
    const every = view.data.network.layers, at = rows => rows[Math.min(view.t, rows.length - 1)];
    const now = () => every.map(l => ({ ...l, inputs: at(l.inputs), sums: at(l.sums), outputs: at(l.outputs) }));
    let layers = now(), columns = [layers[0].inputs, ...layers.map(l => l.outputs)];
    const names = view.data.network.names || {};
    const most = Math.max(...columns.map(c => c.length)), gap = 88, width = Math.max(480, Math.min(1060, 310 * (columns.length - 1) + 230)), height = Math.max(2, most) * gap + 46, R = 23;
    const x = c => 115 + c * (width - 230) / Math.max(1, columns.length - 1), y = (c, i) => 34 + height / 2 - 17 + (i - (columns[c].length - 1) / 2) * gap * Math.min(1.35, most / columns[c].length);
    const all = layers.flatMap(l => l.weights.flat()), top = largest(all), few = all.length <= 60;
    const svg = panel.appendChild(h("div", { class: "scroll" })), out = panel.appendChild(h("div", { "aria-live": "polite", "data-test": "sum" }));
    if (view.neuron === undefined) view.neuron = [1, 0];
    return () => {
      layers = now();
      columns = [layers[0].inputs, ...layers.map(l => l.outputs)];
      const [C, N] = view.neuron, s = SIGNED[theme()], focused = document.activeElement && document.activeElement.dataset && document.activeElement.dataset.neuron && svg.contains(document.activeElement);
      const edges = [], labels = [], quiet = [], nodes = [];
      layers.forEach((l, c) => l.weights.forEach((row, j) => row.forEach((w, i) => {
        const on = C === c + 1 && N === j, x1 = x(c) + R, y1 = y(c, i), x2 = x(c + 1) - R, y2 = y(c + 1, j);
        edges.push(h("line", { class: "edge", x1, y1, x2, y2, stroke: rgb(w < 0 ? s.minus : s.plus), "stroke-width": .6 + 4 * Math.abs(w) / top, "stroke-dasharray": w < 0 ? "7 4" : null, opacity: on ? 1 : C > 0 ? .28 : .6 }));
        if (on || few) {
          const f = .16 + .68 * ((i + 2 * j) % l.weights[0].length + .5) / l.weights[0].length, px = x1 + f * (x2 - x1), py = y1 + f * (y2 - y1), t = num(w, 3), size = on ? 13 : 11;
          (on ? labels : quiet).push(h("rect", { class: "plate", x: px - .33 * size * t.length - 2, y: py - size * .75, width: .66 * size * t.length + 4, height: size * 1.4, rx: 4 }), h("text", { class: on ? "" : "faint", x: px, y: py + size * .35, "text-anchor": "middle", "font-size": size, "font-weight": on ? 700 : 400 }, t));
        }
      })));
      columns.forEach((values, c) => values.forEach((v, i) => {
        const m = largest(values), fill = signed(v / m * .75), on = C === c && N === i, name = (c === 0 ? names.inputs : c === columns.length - 1 ? names.outputs : null) || [];
        const node = h("circle", { class: `node ${on ? "on" : ""}`, cx: x(c), cy: y(c, i), r: R, fill: rgb(fill), tabindex: on ? 0 : -1, role: "button", "data-neuron": `${c},${i}`, "aria-label": `${c === 0 ? "input" : c === columns.length - 1 ? "output" : `hidden layer ${c - 1}, neuron`} ${name[i] || i}: ${num(v)}` });
        const pick = () => view.set({ neuron: [c, i] });
        node.addEventListener("click", pick);
        node.addEventListener("mouseenter", () => { if (view.neuron[0] !== c || view.neuron[1] !== i) pick(); });
        nodes.push(node, h("text", { x: x(c), y: y(c, i) + 4, "text-anchor": "middle", "font-size": 12, style: `fill:${inkOn(fill)};pointer-events:none` }, num(v, 3)));
        if (name[i]) nodes.push(h("text", { class: "soft-text", x: c === 0 ? x(c) - R - 7 : x(c) + R + 7, y: y(c, i) + 4, "text-anchor": c === 0 ? "end" : "start", "font-size": 13 }, name[i]));
      }));
      const drawing = h("svg", { viewBox: `0 0 ${width} ${height + 20}`, width, role: "group", "aria-label": "the network", "data-test": "network" }, h("g", {}, edges), h("g", {}, quiet), h("g", {}, labels), h("g", {}, nodes));
      drawing.addEventListener("keydown", e => {
        const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
        if (!move) return;
        e.preventDefault();
        const c = Math.max(0, Math.min(columns.length - 1, C + move[0]));
        view.set({ neuron: [c, Math.max(0, Math.min(columns[c].length - 1, N + move[1]))] });
      });
      svg.replaceChildren(drawing);
      if (focused) drawing.querySelector(".node.on").focus();
      out.replaceChildren();
      if (C === 0) { out.append(h("div", { class: "formula" }, `input ${(names.inputs || [])[N] || N} = `, h("span", { class: "eq" }, num(columns[0][N])), " (given)")); return; }
      const l = layers[C - 1], say = v => v < 0 ? `(${num(v)})` : num(v), sum = l.sums[N], after = l.outputs[N];
      out.append(h("div", { class: "formula" }, l.weights[N].map((w, i) => `${num(l.inputs[i])} · ${say(w)}`).join(" + "), l.bias ? h("span", {}, ` + bias ${say(l.bias[N])}`) : "", " = ", h("span", { class: "eq", "data-test": "sum-value" }, num(sum))));
      if (C < layers.length && after !== sum) out.append(h("div", { class: "formula" }, `activation: ${num(sum)} → `, h("span", { class: "eq" }, num(after))));
      if (C === layers.length && l.sums.length > 1 && view.data.network.softmax) {
        const e = l.sums.map(v => Math.exp(v - Math.max(...l.sums))), total = e.reduce((a, b) => a + b, 0);
        out.append(h("div", { class: "formula" }, `softmax: e^${num(sum)} / (${l.sums.map(v => `e^${num(v)}`).join(" + ")}) = `, h("span", { class: "eq" }, num(e[N] / total))));
      }
    };
  }, view => view.data.network);
