// The answer, and the way from text to vectors.

section("answer", "Why did it say that?",
  view => view.data.whole ? "What it made of what it was given. Every number here stands below with its own computation." : "Choose a token above: what the model made of it, and why it said what it said next. Every number here stands below with its own computation.",
  (view, panel) => {
    const words = panel.appendChild(h("p", { class: "answer", "data-test": "answer" })), list = panel.appendChild(h("dl", { class: "why" }));
    return () => {
      const a = view.data.answers[Math.min(view.t, view.data.answers.length - 1)];
      words.replaceChildren();
      list.replaceChildren();
      if (!a) { words.append("This model gives no token at each position; see what it computed below."); return; }
      const before = view.data.tokens.slice(Math.max(0, view.t - 7), view.t + 1).map(x => x.text).join("");
      if (view.data.whole) words.append("It says ", h("b", { "data-test": "said" }, a.said));
      else if (view.data.why_not) words.append("In the place of ", h("b", {}, visible(view.data.tokens[view.t].text)), " at ", String(view.t + view.data.first + 1), " it would put ", h("b", { "data-test": "said" }, visible(a.said)));
      else words.append("After ", h("b", {}, (view.t > 7 ? "…" : "") + before), a.written ? " it said " : a.follows ? " comes " : " it would go on with ", h("b", { "data-test": "said" }, visible(a.said)));
      for (const s of a.sentences) list.append(h("dt", {}, s.about), h("dd", {}, s.text, s.at ? h("span", {}, " ", h("a", { href: "#attention", "data-test": "look", onclick: e => {
        e.preventDefault(); // what was clicked is drawn anew
        view.set({ mixer: s.at[0], head: s.at[1], s: s.at[2] });
        document.getElementById("attention").scrollIntoView();
        document.querySelectorAll("#attention [data-test=map]")[view.index].focus({ preventScroll: true });
      } }, "Show this cell")) : null));
    };
  }, view => view.data.answers && view.data.answers.length);

section("text", view => view.data.values ? "What goes in" : "Text → tokens → ids → vectors",
  view => { const e = view.data.embeddings[0]; return view.data.values ? "A network reads numbers and nothing else. These are the numbers of each position, as they were given and as the model reads them." : `The text is cut into ${view.data.facts.tokens} tokens, each has a number, and the number picks a row of the embedding table: ${e ? e.width : "?"} learned numbers. Everything after this is arithmetic on these rows.`; },
  (view, panel) => {
    const d = view.data, draw = panel.appendChild(h("div", {}));
    const positions = panel.appendChild(h("div", {}));
    for (const p of d.positions.filter(p => p.how.length)) {
      positions.append(h("h3", {}, `Position: ${p.label}`), h("p", { class: "small soft" }, p.sentence));
      const grid = p.added || p.turned;
      if (grid) {
        const m = largest(grid.values), what = p.added ? "added to each token's vector (one row a token)" : "what a vector of ones becomes: queries and keys are turned so, one row a token";
        positions.append(h("div", { class: "scroll" }, thumbnail(grid.values, grid.shape[0], grid.shape[1], 6, v => signed(v / m))), legend(`−${num(m, 3)}`, num(m, 3), x => signed(2 * x - 1), what));
      }
      if (p.how.includes("biases")) positions.append(h("p", { class: "small" }, "It adds a number to every score of attention: see “+ bias” in the cells below."));
    }
    return () => {
      const t = view.t, x = d.tokens[t], e = d.embeddings[d.embeddings.length - 1];
      if (d.values) {
        draw.replaceChildren(h("div", { class: "scroll" }, h("table", { class: "tight" }, h("thead", {}, h("tr", {}, h("th", {}, ""), d.values.given[t].map((_, i) => h("th", { class: "r" }, d.values.names[i] || String(i))))), h("tbody", {}, [["given", d.values.given[t]], ["read", d.values.read[t]]].map(([n, row]) => h("tr", {}, h("td", { class: "soft" }, n), row.map(v => h("td", { class: "num r" }, num(v)))))))));
      } else draw.replaceChildren(h("p", { class: "formula" }, `“${visible(x.text)}”  →  id `, h("b", { "data-test": "id" }, x.id), e ? `  →  row ${x.id} of ${e.path} (${e.width} numbers), length ` : "", e ? h("b", { "data-test": "embedding-norm" }, num(e.norm.at(t))) : ""));
      if (e && e.vectors) {
        const row = e.vectors.row(t), m = largest(e.vectors.values);
        draw.append(h("p", { class: "formula", "data-test": "embedding" }, "(", Array.from(row.subarray(0, 12), v => num(v, 3)).join(", "), row.length > 12 ? ", …)" : ")"));
        draw.append(h("div", { class: "scroll" }, thumbnail(e.vectors.values, e.vectors.shape[0], e.vectors.shape[1], 6, v => signed(v / m))),
          legend(`−${num(m, 3)}`, num(m, 3), v => signed(2 * v - 1), `the first ${e.vectors.shape[1]} of ${e.width} channels, one row a token`));
      }
    };
  }, view => view.data.embeddings.length);

const influence = (view, panel) => {
  const d = view.data;
  return () => {
    panel.replaceChildren();
    if (!d.influence) return;
    const row = d.influence.row(Math.min(view.t, d.influence.shape[0] - 1)), tokens = d.source || d.tokens, m = largest(row);
    panel.append(h("h3", {}, "Which words mattered"), h("p", { class: "small soft" }, "Slope of the answer's score along each token's embedding, times that embedding: to first order, what the token adds (blue) or takes away (orange)."),
      h("div", { class: "tokens", style: "max-height:none" }, Array.from(row.subarray(0, tokens.length), (v, s) => { const c = signed(v / m); return h("span", { class: "tok", style: `background:${rgb(c)};color:${inkOn(c)}`, title: num(v) }, visible(tokens[s].text)); })));
  };
};
