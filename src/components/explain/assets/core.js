"use strict";
// Numbers out of the page, elements into it, colours by theme. Everything below is one script without any library.

const h = (tag, attrs, ...children) => {
  const node = tag === "svg" || h.svg.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attrs || {})) {
    if (v === null || v === undefined || v === false) continue;
    if (k.startsWith("on")) node.addEventListener(k.slice(2), v);
    else node.setAttribute(k, v === true ? "" : v);
  }
  node.append(...children.flat(3).filter(c => c !== null && c !== undefined && c !== false).map(c => c instanceof Node ? c : document.createTextNode(String(c))));
  return node;
};
h.svg = new Set(["g", "line", "circle", "rect", "text", "tspan", "path", "title"]);

// a tensor: {shape, bits, data} in base64, or null where the page had no room for it
class Tensor {
  constructor(packed) {
    const raw = atob(packed.data), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    this.shape = packed.shape;
    this.values = packed.bits === 32 ? new Float32Array(bytes.buffer) : Tensor.halves(new Uint16Array(bytes.buffer));
    this.steps = this.shape.map((_, i) => this.shape.slice(i + 1).reduce((a, b) => a * b, 1));
  }
  static halves(words) {
    return Float32Array.from(words, w => {
      const sign = w & 0x8000 ? -1 : 1, exponent = (w >> 10) & 31, fraction = w & 1023;
      if (exponent === 31) return fraction ? NaN : sign * Infinity;
      return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
    });
  }
  at(...index) { return this.values[index.reduce((sum, i, n) => sum + i * this.steps[n], 0)]; }
  row(...index) {
    const start = index.reduce((sum, i, n) => sum + i * this.steps[n], 0);
    return this.values.subarray(start, start + this.steps[index.length - 1]);
  }
}
const unpack = value => {
  if (Array.isArray(value)) return value.map(unpack);
  if (value && typeof value === "object") return "data" in value && "bits" in value ? new Tensor(value) : Object.fromEntries(Object.entries(value).map(([k, v]) => [k, unpack(v)]));
  return value;
};

// numbers as people read them: four digits, a real minus sign
const num = (x, digits = 4) => {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  if (x === 0) return "0";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  let text = size >= 1e6 || size < 1e-4 ? x.toExponential(digits - 2).replace("e+", "e") : String(Number(x.toPrecision(digits)));
  return text.replace(/-/g, "−");
};
const many = n => n === null || n === undefined ? "–" : Math.round(n).toLocaleString("en").replace(/,/g, "\u202f");
const short = n => {
  if (n === null || n === undefined) return "–";
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (n >= size) return `${Number((n / size).toPrecision(3))}\u202f${unit}`;
  return num(n, 3);
};
const bytes = n => n >= 1048576 ? `${num(n / 1048576, 3)} MB` : n >= 1024 ? `${num(n / 1024, 3)} kB` : `${n} B`;
const percent = p => p >= 0.0995 ? `${Math.round(p * 100)}\u202f%` : p >= 0.0005 ? `${num(p * 100, 2)}\u202f%` : `${num(p * 100, 2)}\u202f%`;
const visible = text => text.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/ /g, "·") || "∅";
const tok = (text, attrs = {}) => h("span", { ...attrs, class: `tok ${attrs.class || ""}` }, visible(text));
const bar = (share, attrs = {}) => h("span", { ...attrs, class: `bar ${attrs.class || ""}`, style: `width:${Math.max(0, Math.min(1, Math.abs(share))) * (attrs.full || 6)}rem` });

// colours: lightness carries the value, so that they read in grey and to every kind of eye
const RAMPS = {
  light: [[250, 249, 245], [214, 226, 236], [150, 189, 216], [78, 138, 187], [22, 84, 141], [5, 41, 84]],
  dark: [[22, 28, 40], [32, 56, 104], [87, 93, 109], [138, 134, 120], [195, 179, 105], [254, 232, 86]], // cividis
};
const SIGNED = { light: { zero: [247, 246, 241], plus: [11, 87, 164], minus: [178, 84, 0] }, dark: { zero: [34, 42, 53], plus: [125, 184, 242], minus: [240, 163, 94] } };
const theme = () => document.documentElement.dataset.theme || "light";
const mix = (a, b, t) => a.map((x, i) => Math.round(x + (b[i] - x) * t));
const rgb = c => `rgb(${c[0]},${c[1]},${c[2]})`;
const shade = v => {
  const ramp = RAMPS[theme()], x = Math.max(0, Math.min(1, v || 0)) * (ramp.length - 1), i = Math.min(Math.floor(x), ramp.length - 2);
  return mix(ramp[i], ramp[i + 1], x - i);
};
const signed = v => { const s = SIGNED[theme()], x = Math.max(-1, Math.min(1, v || 0)); return mix(s.zero, x < 0 ? s.minus : s.plus, Math.abs(x)); };
const inkOn = c => 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2] > 140 ? "#10151c" : "#ffffff";
const largest = values => { let m = 0; for (const v of values) if (Math.abs(v) > m) m = Math.abs(v); return m || 1; };
const isSigned = values => { for (const v of values) if (v < -1e-6) return true; return false; };

// a small picture of rows and columns, one pixel block each
const thumbnail = (values, rows, columns, block, colour) => {
  const canvas = h("canvas", { width: columns * block, height: rows * block, "aria-hidden": "true" }), c = canvas.getContext("2d");
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) { c.fillStyle = rgb(colour(values[i * columns + j])); c.fillRect(j * block, i * block, block, block); }
  return canvas;
};
const legend = (from, to, colour, what) => {
  const canvas = h("canvas", { width: 96, height: 10, "aria-hidden": "true" }), c = canvas.getContext("2d");
  for (let i = 0; i < 96; i++) { c.fillStyle = rgb(colour(i / 95)); c.fillRect(i, 0, 1, 10); }
  return h("div", { class: "legend" }, h("span", { class: "num" }, from), canvas, h("span", { class: "num" }, to), what ? h("span", {}, what) : null);
};

// sections: each draws its panel once and gives back what brings it up to date
const SECTIONS = [];
const section = (id, title, lead, make, needs = () => true) => SECTIONS.push({ id, title, lead, make, needs });
