// The model as composed: boxes in boxes, in the order of their calls. And the gradients, where a loss was asked for.

section("model", "The model as composed",
  view => `Every part by name, inside the one that holds it, in the order in which they are called: ${many(view.data.facts.parameters)} parameters (${bytes(view.data.facts.bytes)}), ${view.data.facts.flops_per_token ? `${short(view.data.facts.flops_per_token)} FLOPs for each of ${view.data.facts.tokens} tokens` : ""}. Point at a part, or go to it with Tab, to see what it does and how it is set.`,
  (view, panel) => {
    const d = view.data, both = panel.appendChild(h("div", { class: "model" })), tree = both.appendChild(h("div", {})), about = both.appendChild(h("div", { class: "about", "aria-live": "polite", "data-test": "about" })), all = d.model.parameters || 1;
    const figures = n => [n.parameters ? `${short(n.parameters)} parameters` : "", n.flops ? `${short(n.flops)} FLOPs` : "", n.out_bytes ? `out ${bytes(n.out_bytes)}` : ""].filter(Boolean).join(" · ") + (n.times > 1 ? " each" : "");
    let chosen = null;
    const tell = (n, box) => {
      if (chosen) chosen.classList.remove("on");
      (chosen = box).classList.add("on");
      about.replaceChildren(...[h("h3", { style: "margin-top:0" }, n.name, "  ", h("span", { class: "mono", style: "color:var(--accent)" }, n.label)), h("p", {}, n.sentence),
        h("p", { class: "small soft" }, h("code", {}, n.paths[0] || "the whole model"), n.times > 1 ? ` and ${n.times - 1} more alike` : ""),
        h("table", {}, h("tbody", {}, [["parameters", `${many(n.parameters)}${n.times > 1 ? " each" : ""} (${percent(n.parameters * n.times / all)} of all)`], ["memory of weights", bytes(n.bytes)], ["memory of what it gives", n.shape ? `${n.shape.join(" × ")} numbers, ${bytes(n.out_bytes)}` : "–"], ["FLOPs for this text", n.flops === null ? "not counted" : many(n.flops)]].map(r => h("tr", {}, h("td", { class: "soft" }, r[0]), h("td", { class: "num" }, r[1]))))),
        n.matrices.length ? h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "matrix"), h("th", { class: "r" }, "shape"))), h("tbody", {}, n.matrices.map(m => h("tr", {}, h("td", { class: "mono" }, m.name), h("td", { class: "num r" }, m.shape.join(" × ")))))) : null,
        n.options.length ? h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "option"), h("th", {}, "value"), h("th", {}, "what it does"))), h("tbody", {}, n.options.map(o => h("tr", {}, h("td", { class: "mono" }, o.name), h("td", { class: "mono", style: o.changed ? "font-weight:700" : "" }, JSON.stringify(o.value)), h("td", { class: "small" }, o.doc))))) : h("p", { class: "small soft" }, "no options of its own")].filter(Boolean));
    };
    const box = n => {
      const label = h("button", { class: "label", "data-path": n.path }, h("span", { class: "name" }, n.name === "0" && n.label === "layer" ? "layer" : /^\d+$/.test(n.name) && n.label !== "layer" ? n.label.split("/")[0] : n.name, n.times > 1 ? ` × ${n.times}` : ""), h("span", { class: "part" }, n.label === "layer" ? "" : n.label), h("span", { class: "fig" }, figures(n)));
      const idle = !n.parameters && !n.flops && !n.children.length, node = h("div", { class: `box ${idle ? "nothing" : ""}` }, label, n.parameters ? h("div", { class: "share" }, h("i", { style: `width:${100 * n.parameters * n.times / all}%` })) : null);
      for (const event of ["mouseenter", "focus", "click"]) label.addEventListener(event, () => tell(n, node));
      const quiet = n.children.filter(c => !c.parameters && !c.flops && !c.children.length), loud = n.children.filter(c => !quiet.includes(c));
      node.append(...loud.map(box));
      if (quiet.length) node.append(h("details", { class: "small" }, h("summary", {}, `${quiet.length} part${quiet.length > 1 ? "s" : ""} without weights`), quiet.map(box)));
      return node;
    };
    const root = box(d.model);
    tree.append(root);
    tell(d.model, root);
    return () => {};
  });

section("gradients", "Gradients: what a training step would change",
  view => `The loss of this text is ${num(view.data.backward.loss)}${view.data.backward.asked > 1 ? ` (mean over ${view.data.backward.asked} tokens, in nats)` : ""}. Going backwards, each layer passes on a gradient; where it fades or explodes, the layers before it learn nothing or too much.`,
  (view, panel) => {
    const b = view.data.backward, chart = (title, rows, value) => { const m = largest(rows.map(value)); return h("div", {}, h("h3", {}, title), h("table", {}, h("tbody", {}, rows.map(r => h("tr", {}, h("td", {}, spoken(r.path)), h("td", { class: "num r" }, num(value(r), 3)), h("td", {}, bar(value(r) / m, { full: 6 }))))))); };
    panel.append(h("div", { class: "cols" }, b.stream.length ? chart("Gradient of the stream after each layer", b.stream, r => r.norm) : null, chart("Gradient of all weights of a layer", b.layers, r => r.gradient)));
    const dead = b.weights.filter(w => w.dead && w.of > 1);
    panel.append(h("h3", {}, "Dead units"), h("p", { class: "small soft" }, "Rows of a matrix whose gradient is exactly zero on this text: these units would not learn from it. (Rows of an embedding whose token does not occur are among them.)"),
      dead.length ? h("table", {}, h("tbody", {}, dead.map(w => h("tr", {}, h("td", { class: "mono small" }, w.name), h("td", { class: "num r" }, `${many(w.dead)} of ${many(w.of)}`))))) : h("p", {}, "None."));
    panel.append(h("details", {}, h("summary", {}, `all ${b.weights.length} weights`), h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "weight"), h("th", { class: "r" }, "|gradient|"), h("th", { class: "r" }, "|weight|"))), h("tbody", {}, b.weights.map(w => h("tr", {}, h("td", { class: "mono small" }, w.name), h("td", { class: "num r" }, num(w.gradient, 3)), h("td", { class: "num r" }, num(w.norm, 3)))))))));
    return () => {};
  }, view => view.data.backward);
