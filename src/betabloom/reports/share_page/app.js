// The page: a wall of pictures, one to steer, a shelf of kept ones, a film from one to the next.
"use strict";

(async () => {
  const $ = (id) => document.getElementById(id);
  const { bytesOf, inflated, wholeNumbers, makeDecoder } = globalThis.betabloomDecoder;
  const facts = JSON.parse($("facts").textContent);
  const network = facts.network;
  const [, HEIGHT, WIDTH] = network.shape;
  const LATENTS = network.latents;
  const text = (id) => bytesOf($(id).textContent);
  const decode = await makeDecoder(text("wasm"), network, wholeNumbers(await inflated(text("weights"))));
  const stored = unpackCodes(wholeNumbers(await inflated(text("codes"))));
  const centre = meanOf(stored);
  const near = []; // neighbours of a stored code, found when they are asked for
  const kept = (facts.kept ?? []).map((code) => Float32Array.from(code));
  let chosen = null; // { base, offsets, tile }
  let past = [];

  function unpackCodes(numbers) {
    const codes = [];
    for (let i = 0; i < facts.codes.count; i++)
      codes.push(Float32Array.from({ length: LATENTS }, (_, k) => numbers[i * LATENTS + k] * facts.codes.scale[k]));
    return codes;
  }
  function meanOf(codes) {
    const sum = new Float32Array(LATENTS);
    for (const code of codes) for (let k = 0; k < LATENTS; k++) sum[k] += code[k] / codes.length;
    return sum;
  }
  function nearest(code, count) {
    const apart = (other) => {
      if (other === code) return Infinity;
      let sum = 0;
      for (let k = 0; k < LATENTS; k++) sum += (other[k] - code[k]) ** 2;
      return sum;
    };
    const far = stored.map((other, i) => [apart(other), i]);
    return far.sort((a, b) => a[0] - b[0]).slice(0, count).map((pair) => pair[1]);
  }

  // Pictures of a seed are the same for whoever opens this file.
  function randomOf(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }
  /** A turn from one code towards others near it: as far from the centre as they are. */
  function blend(a, b, amount) {
    const c = Math.cos((amount * Math.PI) / 2);
    const s = Math.sin((amount * Math.PI) / 2);
    return a.map((x, k) => centre[k] + c * (x - centre[k]) + s * (b[k] - centre[k]));
  }
  function drawn(seed, amount) {
    const random = randomOf(seed);
    const i = Math.floor(random() * stored.length);
    near[i] ??= nearest(stored[i], 8);
    const j = near[i][Math.floor(random() * near[i].length)];
    return blend(stored[i], stored[j], amount * (0.3 + 0.7 * random()));
  }

  function paint(canvas, code) {
    if (canvas.width !== WIDTH) [canvas.width, canvas.height] = [WIDTH, HEIGHT];
    canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(decode(code)), WIDTH, HEIGHT), 0, 0);
  }
  function tile(code, label, act) {
    const button = document.createElement("button");
    button.className = "tile";
    button.setAttribute("aria-label", label);
    button.append(document.createElement("canvas"));
    button.addEventListener("click", () => act(code, button));
    paint(button.firstChild, code);
    return button;
  }

  // The wall is painted a few pictures at a time, so that the page answers meanwhile.
  let painting = 0;
  function fill(codes) {
    const mine = ++painting;
    $("wall").replaceChildren();
    let next = 0;
    (function some() {
      if (mine !== painting) return;
      const until = performance.now() + 24;
      do {
        const button = tile(codes[next], `Picture ${next + 1}`, choose);
        button.setAttribute("role", "option");
        button.tabIndex = next ? -1 : 0;
        $("wall").append(button);
      } while (++next < codes.length && performance.now() < until);
      if (next < codes.length) requestAnimationFrame(some);
      else document.documentElement.dataset.ready = "true";
    })();
  }
  // A page of its own scrolls; as a part of another page it shows as many as there is room for.
  function count() {
    const most = innerWidth < 760 ? 24 : 60;
    if (parent === window) return most;
    const { gridTemplateColumns, rowGap } = getComputedStyle($("wall"));
    const columns = gridTemplateColumns.split(" ");
    const room = innerHeight - (document.body.scrollHeight - $("wall").parentElement.offsetHeight);
    const rows = Math.floor((room + parseFloat(rowGap)) / (parseFloat(columns[0]) + parseFloat(rowGap)));
    return Math.min(most, columns.length * Math.max(1, rows));
  }
  let seed = 1;
  function fresh() {
    seed = (seed * 16807 + 11) % 2147483647;
    const amount = Number($("strange").value);
    fill(Array.from({ length: count() }, (_, i) => drawn(seed + 7919 * i, amount)));
  }

  function steered() {
    const code = Float32Array.from(chosen.base);
    facts.directions.forEach(({ step }, d) => {
      const amount = chosen.offsets[d];
      if (amount) for (let k = 0; k < LATENTS; k++) code[k] += amount * step[k];
    });
    return code;
  }
  let drawing = false;
  function redraw() {
    if (drawing) return; // one picture a frame: the newest
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      if (!chosen) return;
      paint($("big"), steered());
      frames++;
    });
  }
  let frames = 0;
  globalThis.betabloomPage = { decode, stored, frames: () => frames }; // for whoever wants to write more of it

  function remember() {
    past.push({ base: chosen.base, offsets: [...chosen.offsets] });
    $("undo").disabled = false;
  }
  function choose(code, button) {
    document.querySelectorAll('[aria-selected="true"]').forEach((other) => other.setAttribute("aria-selected", "false"));
    button?.setAttribute("aria-selected", "true");
    if (chosen) remember();
    chosen = { base: code, offsets: facts.directions.map(() => 0), tile: button };
    $("panel").hidden = false;
    showSliders();
    showKept();
    redraw();
  }
  function showSliders() {
    sliders.forEach(({ input }, d) => input.show(chosen.offsets[d]));
  }
  const sliders = facts.directions.map(({ name }, d) => {
    const input = addSlider($("sliders"), name, d + 1, (value) => {
      chosen.offsets[d] = value;
      redraw();
    });
    input.addEventListener("pointerdown", () => chosen && remember());
    return { input };
  });

  function keep() {
    const code = steered();
    const same = kept.findIndex((other) => other.every((x, k) => x === code[k]));
    if (same >= 0) kept.splice(same, 1);
    else kept.push(code);
    showKept();
  }
  function showKept() {
    $("kept").replaceChildren(...kept.map((code, i) => tile(code, `Kept picture ${i + 1}`, choose)));
    $("loop").disabled = kept.length < 2;
    const code = chosen && steered();
    const is = Boolean(code && kept.some((other) => other.every((x, k) => x === code[k])));
    $("keep").setAttribute("aria-pressed", String(is));
    $("keep").textContent = is ? "♥ Kept" : "♡ Keep";
  }
  function vary() {
    const code = steered();
    const others = nearest(code, 24);
    const random = randomOf((seed += 31));
    const amounts = Array.from({ length: count() }, () => 0.12 + 0.4 * random());
    fill(amounts.map((amount) => blend(code, stored[others[Math.floor(random() * others.length)]], amount)));
  }
  function undo() {
    const before = past.pop();
    if (!before) return;
    chosen = { ...chosen, base: before.base, offsets: before.offsets };
    $("undo").disabled = !past.length;
    showSliders();
    showKept();
    redraw();
  }
  function reset() {
    remember();
    chosen.offsets = chosen.offsets.map((x, d) => (sliders[d].input.disabled ? x : 0));
    showSliders();
    redraw();
  }
  function surprise() {
    remember();
    chosen.offsets = chosen.offsets.map((x, d) => (sliders[d].input.disabled ? x : Math.round((Math.random() * 4 - 2) * 20) / 20));
    showSliders();
    redraw();
  }
  function download(blob, name) {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  function save() {
    const side = Math.max(1, Math.floor(512 / WIDTH));
    const canvas = Object.assign(document.createElement("canvas"), { width: side * WIDTH, height: side * HEIGHT });
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage($("big"), 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => download(blob, "betabloom.png"));
  }
  const asText = (code) => {
    const numbers = Int16Array.from(code, (x, k) => Math.max(-32767, Math.min(32767, Math.round((x - centre[k]) * 2048))));
    return btoa(String.fromCharCode(...new Uint8Array(numbers.buffer))).replaceAll("+", "-").replaceAll("/", "_");
  };
  function opened() {
    const found = /[#&]code=([\w-]+=*)/.exec(location.hash);
    if (!found) return;
    const bytes = bytesOf(found[1].replaceAll("-", "+").replaceAll("_", "/"));
    if (bytes.length !== 2 * LATENTS) return;
    choose(Float32Array.from(new Int16Array(bytes.buffer), (x, k) => centre[k] + x / 2048), null);
  }
  async function copyLink() {
    history.replaceState(null, "", `#code=${asText(steered())}`);
    try {
      await navigator.clipboard.writeText(location.href);
      $("status").textContent = "The link to this picture is copied.";
    } catch {
      $("status").textContent = "The address of this page now opens this picture.";
    }
  }

  // A film: from each kept picture to the next and back to the first, at an even pace.
  let playing = 0;
  const SECONDS = 1.6;
  function film(time) {
    const at = (time / SECONDS) % kept.length;
    const t = at - Math.floor(at);
    const from = kept[Math.floor(at)];
    const to = kept[(Math.floor(at) + 1) % kept.length];
    const eased = t * t * (3 - 2 * t);
    return from.map((x, k) => x + eased * (to[k] - x));
  }
  function loop() {
    if (kept.length < 2) return;
    $("film").showModal();
    const mine = ++playing;
    const from = performance.now();
    (function frame() {
      if (mine !== playing) return;
      paint($("screen"), film((performance.now() - from) / 1000));
      requestAnimationFrame(frame);
    })();
  }
  function record() {
    const type = ["video/mp4", "video/webm"].find((each) => globalThis.MediaRecorder?.isTypeSupported(each));
    if (!type) return ($("status").textContent = "This browser cannot record video.");
    const recorder = new MediaRecorder($("screen").captureStream(30), { mimeType: type, videoBitsPerSecond: 4e6 });
    const parts = [];
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => download(new Blob(parts, { type }), `betabloom.${type.slice(6)}`);
    recorder.start();
    setTimeout(() => recorder.stop(), kept.length * SECONDS * 1000);
  }

  const on = (id, act) => $(id).addEventListener("click", act);
  on("fresh", fresh);
  on("keep", keep);
  on("vary", vary);
  on("undo", undo);
  on("reset", reset);
  on("surprise", surprise);
  on("save", save);
  on("link", copyLink);
  on("loop", loop);
  on("record", record);
  on("stop", () => $("film").close());
  $("film").addEventListener("close", () => playing++);
  on("close", () => {
    $("panel").hidden = true;
    chosen?.tile?.focus();
  });
  $("strange").addEventListener("change", fresh);
  $("wall").addEventListener("keydown", (event) => {
    const tiles = [...$("wall").children];
    const at = tiles.indexOf(document.activeElement);
    const columns = getComputedStyle($("wall")).gridTemplateColumns.split(" ").length;
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    tiles[Math.max(0, Math.min(tiles.length - 1, at + move))]?.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.type === "text" || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { n: fresh, l: loop };
    if (chosen) Object.assign(keys, { k: keep, v: vary, z: undo, r: reset, s: save, m: surprise });
    keys[event.key]?.();
  });

  $("title").textContent = facts.title || "betabloom";
  document.title = `${facts.title || "Pictures"} · betabloom`;
  fresh();
  showKept();
  document.documentElement.dataset.first = String(Math.round(performance.now())); // ms since the page was opened
  $("status").textContent = `${network.shape[2]}×${network.shape[1]} pixels, ${LATENTS} numbers a picture. Click one.`;
  opened();
})().catch((error) => {
  document.getElementById("status").textContent = `This browser cannot show the page: ${error.message}`;
});
