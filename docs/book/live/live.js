"use strict";
// What the live figures share: sliders, and a chart on a canvas. Nothing is loaded from elsewhere.

/** Make sliders in `.controls`; calls redraw(values) at first and after each change. */
function sliders(list, redraw) {
  const box = document.querySelector(".controls"), values = {};
  for (const { name, label, min, max, step, value, show } of list) {
    const row = document.createElement("label"), output = document.createElement("output");
    const input = Object.assign(document.createElement("input"), { type: "range", min, max, step, value });
    const text = document.createElement("span");
    text.textContent = label;
    row.append(text, output, input);
    box.append(row);
    const read = () => {
      values[name] = Number(input.value);
      output.textContent = show ? show(values[name]) : values[name].toFixed(2);
    };
    input.addEventListener("input", () => { read(); redraw(values); });
    read();
  }
  const again = () => redraw(values);
  addEventListener("resize", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  again();
  return values;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

/** About `count` round numbers from low to high. */
function round([low, high], count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((each) => each * power >= raw * 0.99) * power;
  const list = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9; i++) list.push(+(i * step).toPrecision(6));
  return list;
}

/** A chart with linear axes: x and y are [low, high]; returns what draws on it. */
function chart(canvas, x, y, { height = 0.45, xlabel = "", ylabel = "", ticks = 5 } = {}) {
  const ratio = devicePixelRatio || 1, wide = canvas.clientWidth, high = Math.max(200, wide * height);
  canvas.style.height = `${high}px`;
  canvas.width = wide * ratio;
  canvas.height = high * ratio;
  const c = canvas.getContext("2d"), left = 44, bottom = 36, top = 8, right = 10;
  c.scale(ratio, ratio);
  const X = (v) => left + ((v - x[0]) / (x[1] - x[0])) * (wide - left - right);
  const Y = (v) => high - bottom - ((v - y[0]) / (y[1] - y[0])) * (high - bottom - top);
  c.font = "12px system-ui, sans-serif";
  c.strokeStyle = colour("rule");
  c.fillStyle = colour("faint");
  c.lineWidth = 1;
  c.textAlign = "center";
  for (const u of round(x, ticks)) {
    c.beginPath(); c.moveTo(X(u), Y(y[0])); c.lineTo(X(u), Y(y[1])); c.stroke();
    c.fillText(String(u), X(u), high - bottom + 15);
  }
  c.textAlign = "right";
  for (const v of round(y, ticks)) {
    c.beginPath(); c.moveTo(X(x[0]), Y(v)); c.lineTo(X(x[1]), Y(v)); c.stroke();
    c.fillText(String(v), left - 6, Y(v) + 4);
  }
  c.textAlign = "center";
  c.fillText(xlabel, X((x[0] + x[1]) / 2), high - 5);
  c.textAlign = "left";
  c.fillText(ylabel, left + 4, top + 12);
  const clipped = (draw) => { c.save(); c.beginPath(); c.rect(left, top, wide - left - right, high - bottom - top); c.clip(); draw(); c.restore(); };
  return {
    X, Y, context: c,
    line(points, name = "one", dash = []) {
      clipped(() => {
        c.strokeStyle = colour(name); c.lineWidth = 2; c.setLineDash(dash); c.beginPath();
        points.forEach(([u, v], i) => (i ? c.lineTo(X(u), Y(v)) : c.moveTo(X(u), Y(v))));
        c.stroke();
      });
    },
    dots(points, name = "one", size = 4) {
      clipped(() => {
        c.fillStyle = colour(name);
        for (const [u, v] of points) { c.beginPath(); c.arc(X(u), Y(v), size, 0, 7); c.fill(); }
      });
    },
    bars(list, name = "one") {
      clipped(() => { c.fillStyle = colour(name); for (const [u, w, from, to] of list) c.fillRect(X(u - w / 2), Y(to), X(u + w / 2) - X(u - w / 2), Y(from) - Y(to)); });
    },
  };
}

const range = (low, high, n = 300) => Array.from({ length: n + 1 }, (_, i) => low + ((high - low) * i) / n);
const normal = (z, m, s) => Math.exp(-0.5 * ((z - m) / s) ** 2) / (s * Math.sqrt(2 * Math.PI));
const logNormal = (z, m, s) => -0.5 * ((z - m) / s) ** 2 - Math.log(s * Math.sqrt(2 * Math.PI));
const nats = (v) => `${v.toFixed(3)} nats`;
const result = (text) => { document.querySelector(".result").textContent = text; };
