// The stream: what every layer wrote into it, and what would have been said there; neurons; the last step from logits to a token.

const target = view => { const a = view.data.whole ? null : (view.data.answers || [])[view.t]; return a ? a.id : null; };

section("stream", "The stream through the layers",
  () => "A token's vector is carried through the layers, and each branch writes into it. Beside: its length after each layer, how much each branch wrote, and what the head would have said there.",
  (view, panel) => {
    const d = view.data, side = d.sides.length - 1, layers = d.layers.filter(l => l.side === side), table = panel.appendChild(h("div", { class: "scroll" })), lens = panel.appendChild(h("div", {})), lensMap = h("div", { class: "map", "data-test": "lens-map" }), words = panel.appendChild(h("div", {})), update = influence(view, words);
    return () => {
      const t = view.t, top = Math.max(...layers.map(l => l.norm.at(t)), layers.length ? layers[0].norm_before.at(t) : 0), id = target(view), p = rows => rows.next[t];
      const without = Object.fromEntries((d.without || []).map(w => [w.path, w.p[t]])), guess = d.predictions[t], known = guess ? guess.next ? guess.next.p : guess.top[0][2] : null;
      const line = (name, norm, branches, lens) => h("tr", {}, h("td", {}, name), h("td", { class: "num r" }, num(norm, 3)), h("td", {}, bar(norm / top, { class: "pale", full: 5 })), h("td", { class: "num small" }, branches), h("td", {}, lens ? lens.top[t].slice(0, 3).map(([i, , q]) => h("span", {}, tok(view.word(i), { class: i === id ? "on" : "" }), h("span", { class: "num small soft" }, ` ${percent(q)}  `))) : ""), h("td", { class: "num r", "data-test": "lens" }, lens && p(lens) !== null ? percent(p(lens)) : ""));
      const body = [];
      if (layers.length) body.push(line("embedding", layers[0].norm_before.at(t), without.embedding !== undefined && without.embedding !== null ? `without: ${percent(without.embedding)}` : "", d.lens[0]));
      layers.forEach((l, n) => body.push(line(`${spoken(l.path)}${l.visit ? ` (pass ${l.visit + 1})` : ""}`, l.norm.at(t), l.branches.map(b => h("div", {}, `${b.name} wrote ${num(b.norm.at(t), 3)}`, without[b.path] !== undefined && without[b.path] !== null ? h("span", { class: "soft" }, ` · without it: ${percent(without[b.path])}`) : "")), d.lens[n + 1])));
      table.replaceChildren(h("table", { class: "wide", "data-test": "stream" }, h("thead", {}, h("tr", {}, h("th", {}, "after"), h("th", { class: "r" }, "length"), h("th", {}, ""), h("th", {}, "branches"), h("th", {}, "it would say"), h("th", { class: "r" }, id === null ? "" : "p of ", id === null ? "" : tok(view.word(id))))), h("tbody", {}, body)));
      if (Object.keys(without).length) table.append(h("p", { class: "small soft" }, `“Without it”: the probability of the answer (${known === null ? "–" : percent(known)}) if that branch had written nothing and everything else stayed as it is.`));
      if (d.lens.length && !lens.children.length && d.lens[0].next.some(x => x !== null)) lens.append(h("h3", {}, "When the answer appears"), h("p", { class: "small soft" }, "One column a token, one row a layer: the probability that the head would give there, to the token that does follow. Choose a column to go to its token."), lensMap, legend("0", "1", shade, ""));
      if (d.lens.length && d.lens[0].next.some(x => x !== null)) {
        const rows = d.lens.map((r, n) => ({ text: n ? spoken(r.after) : "embedding" }));
        map(lensMap, { rows, columns: d.tokens, T: rows.length, S: d.tokens.length, value: (i, j) => d.lens[i].next[j], seen: (i, j) => d.lens[i].next[j] !== null, colour: shade, r: Math.min(view.depth ?? rows.length - 1, rows.length - 1), s: t, label: "probability of the token that follows", what: "after", pick: (i, j) => view.set({ depth: i, t: j }) });
      }
      update();
    };
  }, view => view.data.layers.length);

section("neurons", "Neurons of the feed-forward layers",
  () => "Every position passes through each layer's FFN alone: its vector is multiplied into a wider row of neurons, bent by the activation, and projected back. The strongest of them here:",
  (view, panel) => {
    const list = panel.appendChild(h("div", { class: "cols" }));
    return () => {
      const found = view.data.layers.flatMap(l => l.branches.filter(b => b.neurons).map(b => b));
      list.replaceChildren(...found.map(b => {
        const n = b.neurons, top = n.top ? n.top[view.t] || [] : [], m = largest(top.map(x => x[1]));
        return h("div", {}, h("h3", {}, spoken(b.path)), n.top ? h("p", { class: "small soft" }, `${n.width} neurons; ${percent(n.active.at(view.t))} of them not zero here; ${n.silent ? `${n.silent} zero at every token of this text` : "none zero at every token"}`) : null,
          n.experts ? h("p", { class: "small" }, "experts: ", (n.experts[view.t] || []).map(([e, w]) => `${e} (${num(w, 3)})`).join(", ")) : null,
          top.length ? h("table", {}, h("tbody", {}, top.map(([i, v]) => h("tr", {}, h("td", { class: "num" }, i), h("td", { class: "num r" }, num(v, 3)), h("td", {}, bar(v / m, { class: v < 0 ? "down" : "", full: 5 })))))) : null);
      }));
    };
  }, view => view.data.layers.some(l => l.branches.some(b => b.neurons)));

section("logits", "From logits to the next token",
  view => `The head turns the last vector into a score (logit) for every token, and softmax makes probabilities of them: p = e^logit / Σ e^logit.${view.data.generation ? " Then the samplers shape them, and a number is drawn." : ""}`,
  (view, panel) => {
    const d = view.data, formula = panel.appendChild(h("div", {})), columns = panel.appendChild(h("div", { class: "cols" })), drawn = panel.appendChild(h("p", {}));
    const list = (title, note, top, id) => h("div", {}, h("h3", {}, title), h("p", { class: "small soft" }, note), h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "token"), h("th", { class: "r" }, "logit"), h("th", { class: "r" }, "p"), h("th", {}))), h("tbody", {}, top.map(([i, logit, p]) => h("tr", { class: i === id ? "on" : "" }, h("td", {}, tok(view.word(i))), h("td", { class: "r num" }, num(logit)), h("td", { class: "r num" }, num(p, 3)), h("td", {}, bar(p / top[0][2], { full: 4 })))))));
    return () => {
      const p = d.predictions[view.t], step = d.generation ? d.generation.steps.find(s => s.position === view.t + d.first) : null, id = target(view);
      columns.replaceChildren();
      drawn.replaceChildren();
      formula.replaceChildren();
      if (!p) return;
      const [i, logit, q] = p.top.find(x => x[0] === id) || p.top[0];
      formula.append(h("div", { class: "formula" }, `p(${visible(view.word(i))}) = e^${num(logit)} / Σ e^logit = e^${num(logit)} / e^${num(p.log_sum)} = e^${num(logit - p.log_sum)} = `, h("span", { class: "eq", "data-test": "probability" }, num(Math.exp(logit - p.log_sum)))));
      if (p.next) formula.append(h("p", { class: "small soft" }, `${visible(view.word(p.next.id))} follows: rank ${p.next.rank}, probability ${num(p.next.p)}, which costs −ln p = ${num(-Math.log(p.next.p))} nats. Entropy of the whole distribution: ${num(p.entropy)} nats.`));
      if (step) for (const s of step.stages) columns.append(list(s.name, `${many(s.kept)} of ${many(s.of)} tokens are left${s.p === null ? "" : `; the chosen one has ${num(s.p, 3)}`}`, s.top, step.chosen));
      else columns.append(list("the model's probabilities", `the ten likeliest of all`, p.top, id));
      if (step && step.drawn !== undefined) drawn.append("Drawn: ", h("b", { class: "num", "data-test": "drawn" }, num(step.drawn)), `. In order of ids, ${visible(view.word(step.fell_on))} covers the running sum from ${num(step.from)} to ${num(step.to)}, so it was chosen.`);
      else if (step) drawn.append(`decoding/${d.generation.decoding} draws nothing.`);
    };
  }, view => view.data.predictions.length);

section("said", "From scores to the answer",
  view => view.data.whole.p ? "The head gives one score for each label, and softmax makes probabilities of them: p = e^score / Σ e^score." : "The head gives these amounts.",
  (view, panel) => {
    const w = view.data.whole, top = Math.max(...w.scores), sum = w.scores.reduce((a, s) => a + Math.exp(s - top), 0);
    panel.append(h("table", { "data-test": "whole" }, h("thead", {}, h("tr", {}, h("th", {}, w.p ? "label" : "amount"), h("th", { class: "r" }, "score"), w.p ? h("th", { class: "r" }, "p") : null, h("th", {}))), h("tbody", {}, w.names.map((n, i) => h("tr", { class: w.p && i === w.likeliest ? "on" : "" }, h("td", {}, n), h("td", { class: "r num" }, num(w.scores[i])), w.p ? h("td", { class: "r num" }, num(w.p[i])) : null, h("td", {}, w.p ? bar(w.p[i], { full: 10 }) : ""))))));
    if (w.p) panel.append(h("div", { class: "formula" }, `p(${w.names[w.likeliest]}) = e^${num(w.scores[w.likeliest])} / (${w.scores.slice(0, 6).map(s => `e^${num(s)}`).join(" + ")}${w.scores.length > 6 ? " + …" : ""}) = `, h("span", { class: "eq" }, num(Math.exp(w.scores[w.likeliest] - top) / sum))));
    return () => {};
  }, view => view.data.whole);
