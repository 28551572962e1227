// The studio's page. It knows the server by its documented routes alone (openapi.json).
const $ = (id) => document.getElementById(id);
const say = (sentence) => ($("status").textContent = sentence);

async function ask(path, body, method = body === undefined ? "GET" : "POST") {
  const raw = body instanceof Blob || body instanceof ArrayBuffer;
  const answer = await fetch(path, {
    method,
    body: raw ? body : body === undefined ? undefined : JSON.stringify(body),
    headers: raw || body === undefined ? {} : { "content-type": "application/json" },
  });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `The studio answered ${answer.status}.`);
  return answer.headers.get("content-type").startsWith("application/json") ? answer.json() : answer.blob();
}
/** Run what a person asked for, and say what went wrong. */
const trying = (act) => async (...words) => {
  try {
    return await act(...words);
  } catch (error) {
    say(error.message);
  }
};

let model = null; // what /api/model says
let chosen = null; // { base, offsets, origin, photo }
let seed = Math.floor(Math.random() * 1e6);
const kept = []; // { code, picture, mark }
const states = []; // { base, offsets, origin, photo, picture, parent }: a tree
let now = -1;
let breeding = false;

// ---- the wall

function tile(picture, label, act) {
  const button = document.createElement("button");
  button.className = "tile";
  button.setAttribute("aria-label", label);
  button.append(Object.assign(new Image(), { src: picture, alt: "" }));
  button.addEventListener("click", () => act(button));
  return button;
}
function fill({ codes, pictures, usual }, origin) {
  $("wall").replaceChildren(
    ...codes.map((code, i) => {
      const button = tile(pictures[i], `Picture ${i + 1}`, (it) => pick(code, pictures[i], origin?.(i) ?? null, it, usual?.[i]));
      button.setAttribute("role", "option");
      button.tabIndex = i ? -1 : 0;
      return button;
    }),
  );
  document.documentElement.dataset.ready = "true";
}
const count = () => (innerWidth < 760 ? 24 : 48);
const fresh = trying(async () => {
  seed += 1;
  const asked = { n: count(), seed, temperature: Number($("temperature").value), sampler: $("sampler").value || "auto" };
  fill(await ask("api/draw", asked), (i) => ({ seed: asked.seed, number: i, temperature: asked.temperature, sampler: asked.sampler }));
  say(`${asked.n} pictures of seed ${asked.seed}. Click one.`);
});

// ---- the chosen picture

function pick(code, picture, origin, button, usual) {
  if (breeding && chosen) return breed(code);
  document.querySelectorAll('[aria-selected="true"]').forEach((other) => other.setAttribute("aria-selected", "false"));
  button?.setAttribute("aria-selected", "true");
  chosen = { base: code, offsets: model.directions.map(() => 0), origin, photo: null, button };
  show(picture, usual);
  remember(picture);
}
function show(picture, usual) {
  $("panel").hidden = false;
  $("big").src = picture;
  $("original").hidden = !chosen.photo;
  if (chosen.photo) $("original").src = chosen.photo.picture;
  $("nats-row").hidden = !chosen.photo;
  sliders.forEach(({ input }, d) => (input.value = chosen.offsets[d]));
  if (usual) tell(usual);
  showKept();
}
function tell({ percentile, nats }) {
  const common = percentile > 50 ? "a usual picture" : percentile > 10 ? "a rare picture" : "far from what the model draws";
  const sure = chosen?.photo ? ` The model tells ${chosen.photo.total.toFixed(0)} nats of your photo.` : "";
  $("usual").textContent = `Log-density ${nats.toFixed(0)} nats: ${common} (rarer than ${(100 - percentile).toFixed(0)} % of its own).${sure}`;
}
function steered(state = chosen) {
  const code = state.photo ? limited(state) : [...state.base];
  model.directions.forEach(({ step }, d) => {
    if (state.offsets[d]) for (let k = 0; k < code.length; k++) code[k] += state.offsets[d] * step[k];
  });
  return code;
}
/** A photo's code with its most telling dimensions alone: the others at the mean of the model's codes. */
function limited({ base, photo, share }) {
  let left = ((share ?? 100) / 100) * photo.total;
  const code = [...model.mean];
  for (const k of photo.order) {
    if (left < photo.nats[k] && (share ?? 100) < 100) break;
    left -= photo.nats[k];
    code[k] = base[k];
  }
  return code;
}

// One request is on its way; of what changes meanwhile, only the newest is asked for next.
let asking = false;
let newer = false;
let followed = 0;
globalThis.studio = { followed: () => followed, state: () => chosen, steered: () => steered() };
const follow = trying(async () => {
  if (asking) return void (newer = true);
  asking = true;
  try {
    do {
      newer = false;
      const { pictures, usual } = await ask("api/decode", { codes: [steered()] });
      $("big").src = pictures[0];
      tell(usual[0]);
      followed++;
    } while (newer);
  } finally {
    asking = false;
  }
});

let sliders = [];
function makeSliders() {
  $("sliders").replaceChildren($("sliders").firstElementChild);
  sliders = model.directions.map(({ name }, d) => {
    const input = addSlider($("sliders"), name, d + 1, (value) => {
      chosen.offsets[d] = value;
      follow();
    });
    input.addEventListener("change", () => remember());
    return { input };
  });
}

// ---- history: a tree, since going back and doing something else begins a branch

function remember(picture) {
  states.push({ ...chosen, offsets: [...chosen.offsets], picture: picture ?? $("big").src, parent: now });
  now = states.length - 1;
  showHistory();
}
function go(place) {
  now = place;
  const { base, offsets, origin, photo, share, picture } = states[place];
  chosen = { base, offsets: [...offsets], origin, photo, share };
  show(picture);
  follow();
  showHistory();
}
function showHistory() {
  $("undo").disabled = now < 0 || states[now].parent < 0;
  $("history").replaceChildren(
    ...states.map(({ picture, parent }, i) => {
      const button = tile(picture, `State ${i + 1}`, () => go(i));
      button.classList.toggle("branch", parent !== i - 1);
      button.setAttribute("aria-selected", String(i === now));
      return button;
    }),
  );
}
const undo = () => now >= 0 && states[now].parent >= 0 && go(states[now].parent);

// ---- what can be done with it

const vary = trying(async () => fill(await ask("api/vary", { code: steered(), n: count(), amount: Number($("amount").value), seed: seed++ })));
const breed = trying(async (other) => {
  stopBreeding();
  fill(await ask("api/breed", { parents: [steered(), other], n: count(), seed: seed++ }));
  say("Children of both pictures.");
});
function startBreeding() {
  breeding = !breeding;
  $("breed").setAttribute("aria-pressed", String(breeding));
  if (breeding) say("Click the other parent.");
}
function stopBreeding() {
  breeding = false;
  $("breed").setAttribute("aria-pressed", "false");
}
function reset() {
  chosen.offsets = chosen.offsets.map((x, d) => (sliders[d].input.disabled ? x : 0));
  show($("big").src);
  follow().then(() => remember());
}
function surprise() {
  chosen.offsets = chosen.offsets.map((x, d) => (sliders[d].input.disabled ? x : Math.round((Math.random() * 4 - 2) * 20) / 20));
  show($("big").src);
  follow().then(() => remember());
}
function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 2000);
}
const save = trying(async () => download(await ask("api/png", { code: steered() }), "betabloom.png"));
async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    say(said);
  } catch {
    say(text);
  }
}
const asText = (code) => btoa(String.fromCharCode(...new Uint8Array(Float32Array.from(code).buffer))).replaceAll("+", "-").replaceAll("/", "_");
function copyLink() {
  history.replaceState(null, "", `#code=${asText(steered())}`);
  copy(location.href, "The link to this picture is copied.");
}
function copyCommand() {
  const o = chosen.origin;
  const plain = o && chosen.offsets.every((x) => !x);
  const command = plain
    ? `betabloom generate '${model.name}' -n 1 --seed ${o.seed} --start ${o.number} --temperature ${o.temperature} --sampler ${o.sampler}`
    : `betabloom studio '${model.name}'  # then open ${location.origin}/#code=${asText(steered())}`;
  copy(command, "The command is copied.");
}
const opened = trying(async () => {
  const found = /[#&]code=([\w-]+=*)/.exec(location.hash);
  if (!found) return;
  const bytes = Uint8Array.from(atob(found[1].replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  if (bytes.length !== 4 * model.latents) return;
  const code = [...new Float32Array(bytes.buffer)];
  const { pictures, usual } = await ask("api/decode", { codes: [code] });
  pick(code, pictures[0], null, null, usual[0]);
});

// ---- kept pictures

function keep() {
  const code = steered();
  const same = kept.findIndex((other) => other.code.every((x, k) => x === code[k]));
  if (same >= 0) kept.splice(same, 1);
  else kept.push({ code, picture: $("big").src, mark: "" });
  showKept();
}
function showKept() {
  $("kept").replaceChildren(
    ...kept.map((each, i) => {
      const box = Object.assign(document.createElement("div"), { className: "kept-picture" });
      const marks = Object.assign(document.createElement("div"), { className: "marks" });
      for (const mark of ["+", "−"]) {
        const button = Object.assign(document.createElement("button"), { textContent: mark });
        button.setAttribute("aria-label", mark === "+" ? `More like kept picture ${i + 1}` : `Less like kept picture ${i + 1}`);
        button.setAttribute("aria-pressed", String(each.mark === mark));
        button.addEventListener("click", () => {
          each.mark = each.mark === mark ? "" : mark;
          showKept();
        });
        marks.append(button);
      }
      box.append(tile(each.picture, `Kept picture ${i + 1}`, (it) => pick(each.code, each.picture, null, it)), marks);
      return box;
    }),
  );
  $("loop").disabled = kept.length < 2;
  $("more").disabled = !kept.some(({ mark }) => mark === "+");
  const code = chosen && steered();
  const is = Boolean(code && kept.some((other) => other.code.every((x, k) => x === code[k])));
  $("keep").setAttribute("aria-pressed", String(is));
  $("keep").textContent = is ? "♥ Kept" : "♡ Keep";
}
const marked = (mark) => kept.filter((each) => each.mark === mark).map(({ code }) => code);
const more = trying(async () => {
  fill(await ask("api/more-like", { good: marked("+"), bad: marked("−"), n: count(), seed: seed++ }));
  say("More like those marked +, less like those marked −.");
});
const filmOf = (format) => ask("api/film", { codes: kept.slice(0, 16).map(({ code }) => code), frames: Math.min(240, 30 * kept.length), format });
const loop = trying(async () => {
  say("Drawing the loop …");
  const film = await filmOf("WEBP");
  $("screen").src = $("film-save").href = URL.createObjectURL(film);
  $("film").showModal();
  say("The loop is ready.");
});

// ---- a photo, or a PNG that betabloom made

const take = trying(async (file) => {
  if (file.type === "image/png") {
    const made = await ask("api/restore", file).catch((error) => (/not a picture that betabloom/.test(error.message) ? null : Promise.reject(error)));
    if (made) {
      fill(made, () => null);
      pick(made.codes[0], made.pictures[0], null, $("wall").firstElementChild, made.usual[0]);
      return say("Here is what this picture was made of.");
    }
  }
  say("Looking at your photo …");
  const { code, nats, picture, reconstruction } = await ask("api/encode", file);
  const order = nats.map((_, k) => k).sort((a, b) => nats[b] - nats[a]);
  const total = nats.reduce((a, b) => a + b, 0);
  chosen = { base: code, offsets: model.directions.map(() => 0), origin: null, photo: { picture, nats, order, total }, share: 100 };
  $("nats").value = 100;
  $("nats-kept").textContent = `${total.toFixed(0)} of ${total.toFixed(0)} nats`;
  view("explore");
  show(reconstruction);
  await follow();
  remember(reconstruction);
  say("Your photo as the model sees it, beside the photo. Move the sliders.");
});

// ---- the map

let plane = null;
const drawMap = trying(async () => {
  if (plane?.model === model.fingerprint) return;
  plane = { ...(await ask("api/map", {})), model: model.fingerprint };
  const canvas = $("map");
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const side = 54;
  await Promise.all(
    plane.pictures.map(async (picture, i) => {
      const image = Object.assign(new Image(), { src: picture });
      await image.decode();
      const [x, y] = spot(plane.places[i]);
      context.drawImage(image, x - side / 2, y - side / 2, side, side);
    }),
  );
  canvas.dataset.drawn = "true";
});
const spot = ([x, y]) => [500 + x * 465, 320 + y * 285];
/** The code at a place: those of the four nearest pictures, weighted by how near they are. */
function codeAt(x, y) {
  const far = plane.places.map((place, i) => {
    const [px, py] = spot(place);
    return [(px - x) ** 2 + (py - y) ** 2 + 1, i];
  });
  const nearest = far.sort((a, b) => a[0] - b[0]).slice(0, 4);
  const weights = nearest.map(([d]) => 1 / d);
  const whole = weights.reduce((a, b) => a + b, 0);
  const length = Math.sqrt(weights.reduce((a, b) => a + (b / whole) ** 2, 0));
  return model.mean.map((m, k) => m + nearest.reduce((sum, [, i], j) => sum + (weights[j] / whole) * (plane.codes[i][k] - m), 0) / length);
}
let pointed = null;
let pointing = false;
const point = trying(async () => {
  if (pointing) return;
  pointing = true;
  try {
    while (pointed) {
      const [x, y, left, top] = pointed;
      pointed = null;
      const code = codeAt(x, y);
      const { pictures, usual } = await ask("api/decode", { codes: [code] });
      Object.assign($("under"), { src: pictures[0], hidden: false });
      const limit = $("field").clientWidth - 150;
      $("under").style.left = `${Math.min(left, limit)}px`;
      $("under").style.top = `${top}px`;
      plane.here = { code, picture: pictures[0], usual: usual[0] };
    }
  } finally {
    pointing = false;
  }
});

// ---- training

let watched = null;
const inspect = trying(async () => {
  $("report").hidden = false;
  $("report").textContent = "Looking …";
  $("report").textContent = await ask("api/inspect", { source: $("source").value }).then(({ report }) => report, (error) => error.message);
});
const upload = trying(async (files) => {
  const pictures = [...files].filter((file) => /\.(jpe?g|png|webp|gif|bmp|tiff?|avif|heic)$/i.test(file.name));
  if (!pictures.length) return say("There is no picture in that folder.");
  const folder = (pictures[0].webkitRelativePath.split("/")[0] || "pictures").replace(/[^A-Za-z0-9 ._-]/g, "-").replace(/^[^A-Za-z0-9]+/, "") || "pictures";
  $("upload").hidden = false;
  let done = 0;
  const waiting = [...pictures.entries()];
  const worker = async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const [i, file] = next;
      const name = `${String(i).padStart(5, "0")}-${file.name.replace(/[^A-Za-z0-9._-]/g, "-").slice(-60)}`;
      await ask(`api/folders/${encodeURIComponent(folder)}/${encodeURIComponent(name)}`, file, "PUT");
      $("upload").value = ++done / pictures.length;
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  const { folders } = await ask("api/folders");
  $("source").value = folders.find(({ name }) => name === folder).path;
  say(`${pictures.length} pictures are here.`);
  await inspect();
});
const startTraining = trying(async () => {
  const { name } = await ask("api/runs", { source: $("source").value, name: $("run-name").value, budget: $("budget").value });
  watched = name;
  await watch();
});
const watch = trying(async () => {
  const { runs } = await ask("api/runs");
  $("runs").replaceChildren(
    ...runs.map(({ name, state }) => {
      const button = Object.assign(document.createElement("button"), { textContent: `${name} · ${state}` });
      button.setAttribute("aria-pressed", String(name === watched));
      button.addEventListener("click", () => ((watched = name), watch()));
      return button;
    }),
  );
  watched ??= runs[0]?.name ?? null;
  $("run").hidden = !watched;
  if (!watched) return;
  const run = await ask(`api/runs/${encodeURIComponent(watched)}`);
  $("run-title").textContent = run.name;
  $("run-state").textContent = run.state;
  $("run-said").textContent = run.said.split("\n").slice(-12).join("\n");
  $("run-stop").disabled = run.state !== "running";
  $("run-resume").disabled = run.state !== "stopped";
  $("run-use").disabled = !run.has_model;
  $("run-use").dataset.path = run.path;
  curve(run.records);
  $("run-sample").hidden = !run.has_sample;
  if (!run.has_sample) return;
  const sample = await ask(`api/runs/${encodeURIComponent(watched)}/sample`);
  $("run-sample").src = URL.createObjectURL(sample);
});
function curve(records) {
  const lines = ["train", "validation"].map((split) => records.filter((r) => r.split === split && Number.isFinite(r.distortion)).slice(split === "train" ? 1 : 0));
  const all = lines.flat();
  const svg = $("curve");
  svg.replaceChildren();
  if (all.length < 2) return;
  const [low, high] = [Math.min(...all.map((r) => r.distortion)), Math.max(...all.map((r) => r.distortion))];
  const last = Math.max(...all.map((r) => r.step));
  const put = (name, facts, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(facts)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    svg.append(node);
  };
  lines.forEach((line, i) => {
    const points = line.map((r) => `${40 + (350 * r.step) / last},${190 - (170 * (r.distortion - low)) / (high - low || 1)}`).join(" ");
    put("polyline", { points, fill: "none", stroke: i ? "var(--accent)" : "var(--soft)", "stroke-width": 2 });
  });
  put("text", { x: 40, y: 212, fill: "currentColor", "font-size": 12 }, `distortion, ${low.toFixed(0)} to ${high.toFixed(0)} nats, ${last} steps`);
}
const pictured = () => !$("train").hidden && watch();
setInterval(pictured, 3000);

// ---- views and keys

function view(name) {
  for (const id of ["explore", "plane", "train"]) $(id).hidden = id !== name;
  document.querySelectorAll("nav button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.view === name)));
  if (name === "plane") drawMap();
  if (name === "train") watch();
}
/** Finding what the model's codes mean takes a while the first time: the sliders come when they are known. */
const findDirections = trying(async (mine) => {
  $("finding").hidden = false;
  const { directions } = await ask("api/directions");
  if (model !== mine) return;
  $("finding").hidden = true;
  model.directions = directions;
  for (const state of [...states, chosen]) if (state) state.offsets = directions.map(() => 0);
  makeSliders();
  document.documentElement.dataset.directions = "true";
});
const open = trying(async () => {
  const { models, in_use } = await ask("api/models");
  model = await ask("api/model");
  $("model").replaceChildren(...models.map((name) => new Option(name.split("/").slice(-1)[0], name, false, name === in_use)));
  if (![...$("model").options].some((option) => option.selected && option.value === in_use)) $("model").add(new Option(in_use.split("/").slice(-1)[0], in_use, true, true));
  $("sampler").replaceChildren(...["auto", ...model.samplers].map((name) => new Option(name)));
  model.directions = [];
  makeSliders();
  findDirections(model);
  chosen = null;
  $("panel").hidden = true;
  kept.length = states.length = 0;
  now = -1;
  showKept();
  await fresh();
  await opened();
});
const use = trying(async (name) => {
  say("Opening the model …");
  await ask("api/model", { name });
  view("explore");
  await open();
});

const on = (id, act, kind = "click") => $(id).addEventListener(kind, act);
on("fresh", fresh);
on("temperature", fresh, "change");
on("sampler", fresh, "change");
on("model", () => use($("model").value), "change");
on("keep", keep);
on("vary", vary);
on("breed", startBreeding);
on("undo", undo);
on("reset", reset);
on("surprise", surprise);
on("save", save);
on("link", copyLink);
on("command", copyCommand);
on("close", () => (($("panel").hidden = true), chosen?.button?.focus()));
on("loop", loop);
on("more", more);
on("film-close", () => $("film").close());
on("film-gif", trying(async () => download(await filmOf("GIF"), "betabloom.gif")));
on("photo", () => $("photo-file").click());
on("photo-file", () => $("photo-file").files[0] && take($("photo-file").files[0]), "change");
on("nats", () => {
  chosen.share = Number($("nats").value);
  $("nats-kept").textContent = `${((chosen.share / 100) * chosen.photo.total).toFixed(0)} of ${chosen.photo.total.toFixed(0)} nats`;
  follow();
}, "input");
on("choose-folder", () => $("folder-files").click());
on("folder-files", () => upload($("folder-files").files), "change");
on("look", inspect);
on("start", startTraining);
on("run-stop", trying(async () => (await ask(`api/runs/${encodeURIComponent(watched)}/stop`, {}), watch())));
on("run-resume", trying(async () => (await ask(`api/runs/${encodeURIComponent(watched)}/resume`, {}), watch())));
on("run-use", () => use($("run-use").dataset.path));
document.querySelectorAll("nav button").forEach((button) => button.addEventListener("click", () => view(button.dataset.view)));
on("map", (event) => {
  const box = $("map").getBoundingClientRect();
  pointed = [((event.clientX - box.left) * 1000) / box.width, ((event.clientY - box.top) * 640) / box.height, event.clientX - box.left, event.clientY - box.top];
  if (plane) point();
}, "pointermove");
on("map", () => ($("under").hidden = true), "pointerleave");
on("map", () => {
  if (!plane?.here) return;
  view("explore");
  pick(plane.here.code, plane.here.picture, null, null, plane.here.usual);
});
on("wall", (event) => {
  const tiles = [...$("wall").children];
  const columns = getComputedStyle($("wall")).gridTemplateColumns.split(" ").length;
  const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (move === undefined) return;
  event.preventDefault();
  tiles[Math.max(0, Math.min(tiles.length - 1, tiles.indexOf(document.activeElement) + move))]?.focus();
}, "keydown");
document.addEventListener("keydown", (event) => {
  if (/text|file/.test(event.target.type ?? "") || event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = { n: fresh, l: () => !$("loop").disabled && loop() };
  if (chosen) Object.assign(keys, { k: keep, v: vary, b: startBreeding, z: undo, r: reset, s: save, m: surprise });
  keys[event.key]?.();
});
document.addEventListener("dragover", (event) => (event.preventDefault(), document.body.classList.add("dropping")));
document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
});
addEventListener("hashchange", opened);
open();
