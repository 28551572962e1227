// The chosen picture: sliders, density, the nearest training picture, and what can be made of it.
import { $, ask, copy, download, made, say, trying } from "./api.js";
import { remember } from "./history.js";
import { showKept, showWhetherKept } from "./kept.js";
import { asText, same, s, steered } from "./state.js";
import { count, fillWith, rarer } from "./wall.js";

export function pick(code, picture, origin, button, usual) {
  if (!s.model) return; // it is being opened
  if (s.breeding && s.chosen) return breed(code);
  document.querySelectorAll('[aria-selected="true"]').forEach((other) => other.setAttribute("aria-selected", "false"));
  button?.setAttribute("aria-selected", "true");
  choose({ base: code, offsets: s.model.directions.map(() => 0), origin, photo: null, button }, picture, usual);
  if (!usual) follow();
  remember(picture);
}
export function choose(state, picture, usual) {
  s.wish++;
  s.chosen = state;
  showPicture(picture, steered());
  show(usual);
  settled();
}
let shown = null; // the code that the picture shown is of
function showPicture(picture, code) {
  $("big").src = picture;
  shown = picture && code;
}
function show(usual) {
  const { photo } = s.chosen;
  $("panel").hidden = false;
  $("empty").hidden = true;
  $("original-figure").hidden = $("big-caption").hidden = $("photo-tools").hidden = !photo;
  if (photo) {
    $("original").src = photo.picture;
    $("nats").value = s.chosen.share ?? 100;
    $("ghosts").replaceChildren(...photo.draws);
    showNats();
  }
  s.sliders.forEach((input, d) => input.show(s.chosen.offsets[d]));
  if (usual) tell(usual);
  showKept();
}
export function showNats() {
  const { share, photo } = s.chosen;
  $("nats-kept").textContent = `${(((share ?? 100) / 100) * photo.total).toFixed(0)} of ${photo.total.toFixed(0)} nats`;
}
function tell(usual) {
  const { percentile, nats } = usual;
  const common = percentile > 50 ? "A usual picture" : percentile > 10 ? "A rare picture" : "Far from what the model draws";
  const sure = s.chosen?.photo ? ` The code tells ${s.chosen.photo.total.toFixed(0)} nats of your photo.` : "";
  $("usual").textContent = `${common}: log-density ${nats.toFixed(0).replace("-", "−")} nats, ${rarer(usual)}.${sure}`;
  $("density-mark").style.left = `${percentile}%`;
}

// One request is on its way; of what changes meanwhile, only the newest is asked for next.
let drawing = null;
let newer = false;
let followed = 0;
globalThis.studio = { followed: () => followed, state: () => s.chosen, steered: () => steered() };
/** Draw the chosen picture as its sliders have it now. */
export function follow() {
  newer = true;
  showWhetherKept();
  return (drawing ??= draw().finally(() => (drawing = null)));
}
const draw = trying(async () => {
  while (newer && s.chosen) {
    newer = false;
    const asked = s.chosen;
    const code = steered();
    const { pictures, usual } = await ask("api/decode", { codes: [code] });
    followed++;
    if (s.chosen !== asked) continue; // another one was chosen meanwhile, and is shown
    showPicture(pictures[0], code);
    tell(usual[0]);
  }
});
/** Give what is kept of the chosen picture the picture of its code, which may not be the one that is shown. */
export const portray = trying(async (kept, code, showAgain) => {
  kept.picture = shown && same(shown, code) ? $("big").src : "";
  if (kept.picture) return;
  [kept.picture] = (await ask("api/decode", { codes: [code] })).pictures;
  showAgain();
});

// What is asked once a picture stays as it is: its nearest training picture.
let resting;
let looked = 0;
export function settled() {
  looked++;
  clearTimeout(resting);
  resting = setTimeout(nearest, 150);
}
const nearest = trying(async () => {
  if (!s.chosen) return;
  const mine = looked;
  const { state, sentence, nearest: [found] } = await ask("api/nearest", { codes: [steered()] });
  if (mine !== looked) return;
  if (state === "looking") resting = setTimeout(nearest, 1000);
  $("near-picture").hidden = !found;
  if (found) $("near-picture").src = found.picture;
  $("near-copy").hidden = !found?.near_copy;
  const whose = found?.name ? `Nearest training picture: ${found.name}${found.mirrored ? ", mirrored" : ""}.` : found ? "The nearest training picture, as the model remembers it." : "";
  $("near-text").textContent = found?.name ? `${whose} ${found.near_copy ? "" : "This is no near copy of it."}` : `${whose} ${sentence}`;
  $("known").hidden = state === "found" || state === "looking";
});
export const lookForKnown = trying(async () => {
  const { sentence } = await ask("api/known", { source: $("known-source").value });
  $("near-text").textContent = sentence;
  settled();
});

export function makeSliders() {
  $("sliders").replaceChildren($("sliders").firstElementChild);
  s.sliders = s.model.directions.map(({ name }, d) => {
    const input = addSlider($("sliders"), name, d + 1, (value) => {
      s.chosen.offsets[d] = value;
      follow();
    });
    input.addEventListener("change", () => (settled(), remember()));
    return input;
  });
}
function moved() {
  show();
  settled();
  follow();
  remember();
}
export function reset() {
  s.chosen.offsets = s.chosen.offsets.map((x, d) => (s.sliders[d].disabled ? x : 0));
  moved();
}
export function surprise() {
  s.chosen.offsets = s.chosen.offsets.map((x, d) => (s.sliders[d].disabled ? x : Math.round((Math.random() * 4 - 2) * 20) / 20));
  moved();
}

// ---- what can be made of it

export const vary = trying(async () => {
  say("Pictures like this one …");
  await fillWith(ask("api/vary", { code: steered(), n: count(), amount: Number($("amount").value), seed: s.seed++ }), "Pictures like the chosen one.");
});
const breed = trying(async (other) => {
  breeding(false);
  await fillWith(ask("api/breed", { parents: [steered(), other], n: count(), seed: s.seed++ }), "Children of both pictures.");
});
export function breeding(begun = !s.breeding) {
  s.breeding = begun;
  $("breed").setAttribute("aria-pressed", String(begun));
  if (begun) say("Click the other parent.");
}
export const save = trying(async () => download(await ask("api/png", { code: steered(), scale: Number($("scale").value) }), "betabloom.png"));
export const paper = trying(async () => {
  const [width, height] = $("paper-size").value.split("x").map(Number);
  const of = { one: [steered()], wall: s.wall, kept: s.kept.map(({ code }) => code) }[$("paper-of").value];
  if (!of.length) return say("Keep some pictures first.");
  say("Drawing the wallpaper …");
  download(await ask("api/wallpaper", { codes: of.slice(0, 64), width, height }), `betabloom-${width}x${height}.png`);
  say(`The wallpaper is saved: ${width} × ${height} pixels.`);
});
export function copyLink() {
  history.replaceState(null, "", `#code=${asText(steered())}`);
  copy(location.href, "The link to this picture is copied.");
}
const quoted = (text) => (/^[\w./:=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
export function commandOf(state) {
  const { origin: o, photo } = state;
  const name = quoted(s.model.name);
  if (o && !photo && state.offsets.every((x) => !x)) {
    const colours = `${o.palette ? ` --palette ${quoted(o.palette)}` : ""}${o.colourful ? " --colourful" : ""}`;
    return `betabloom generate ${name} -n 1 --seed ${o.seed} --start ${o.number} --temperature ${o.temperature} --sampler ${o.sampler}${colours}`;
  }
  const numbers = steered(state).map((x) => Number(x.toPrecision(6)));
  return `echo ${numbers.join(",")} > code.csv && betabloom decode ${name} code.csv -o picture.png`;
}
export const copyCommand = () => copy(commandOf(s.chosen), "The command is copied.");
export const showAmount = (id, digits) => ($(`${id}-value`).textContent = Number($(id).value).toFixed(digits));
