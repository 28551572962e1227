// Kept pictures: marked + or −, morphed into a loop, packed as one file.
import { $, ask, download, made, say, trying } from "./api.js";
import { same, s, steered } from "./state.js";
import { pick, portray } from "./steer.js";
import { count, fillWith, tile } from "./wall.js";

export function keep() {
  const code = steered();
  const place = s.kept.findIndex((other) => same(other.code, code));
  if (place >= 0) s.kept.splice(place, 1);
  else {
    const kept = { code, picture: "", mark: "" };
    s.kept.push(kept);
    portray(kept, code, showKept);
  }
  showKept();
}
function mark(each, i, sign) {
  const button = made("button", { textContent: sign });
  button.setAttribute("aria-label", sign === "+" ? `More like kept picture ${i + 1}` : `Less like kept picture ${i + 1}`);
  button.setAttribute("aria-pressed", String(each.mark === sign));
  button.addEventListener("click", () => {
    each.mark = each.mark === sign ? "" : sign;
    showKept();
  });
  return button;
}
export function showKept() {
  $("kept").replaceChildren(
    ...s.kept.map((each, i) => {
      const picture = tile(each.picture, `Kept picture ${i + 1}`, (it) => pick(each.code, each.picture, null, it));
      return made("div", { className: "kept-picture" }, picture, made("div", { className: "marks" }, mark(each, i, "+"), mark(each, i, "−")));
    }),
  );
  $("none-kept").hidden = s.kept.length > 0;
  $("loop").disabled = s.kept.length < 2;
  $("more").disabled = !s.kept.some(({ mark: sign }) => sign === "+");
  showWhetherKept();
}
export function showWhetherKept() {
  const code = s.chosen && steered();
  const is = Boolean(code && s.kept.some((other) => same(other.code, code)));
  $("keep").setAttribute("aria-pressed", String(is));
  $("keep").textContent = is ? "♥ Kept" : "♡ Keep";
}
const marked = (sign) => s.kept.filter((each) => each.mark === sign).map(({ code }) => code);
export const more = trying(async () => {
  await fillWith(ask("api/more-like", { good: marked("+"), bad: marked("−"), n: count(), seed: s.seed++ }), "More like those marked +, less like those marked −.");
});

// ---- the loop

const film = (format) =>
  ask("api/film", { codes: s.kept.slice(0, 16).map(({ code }) => code), frames: Math.min(240, 30 * s.kept.length), format });
export const loop = trying(async () => {
  say("Drawing the loop …");
  $("screen").src = URL.createObjectURL(await film("WEBP"));
  $("film").showModal();
  say("The loop is ready.");
});
export const saveFilm = (format) =>
  trying(async () => {
    say(`Drawing the ${format} …`);
    if (format === "MP4" && !s.model.films.includes("MP4")) await record();
    else download(await film(format), `betabloom.${format.toLowerCase()}`);
    say("The loop is saved.");
  });
/** Where the server cannot write MP4, the page plays the loop once and records it. */
async function record() {
  const type = ["video/mp4", "video/webm"].find((each) => globalThis.MediaRecorder?.isTypeSupported(each));
  if (!type) throw new Error("This browser cannot record video. Save a WebP or GIF, or install 'betabloom[video]'.");
  const canvas = made("canvas", { width: 256, height: 256 });
  const context = canvas.getContext("2d");
  const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: type, videoBitsPerSecond: 4e6 });
  const parts = [];
  const stopped = new Promise((ended) => (recorder.onstop = ended));
  recorder.ondataavailable = (event) => parts.push(event.data);
  const until = performance.now() + s.kept.length * 1500;
  recorder.start();
  await new Promise((ended) => {
    (function frame() {
      context.drawImage($("screen"), 0, 0, 256, 256);
      if (performance.now() < until) requestAnimationFrame(frame);
      else ended();
    })();
  });
  recorder.stop();
  await stopped;
  download(new Blob(parts, { type }), `betabloom.${type.slice(6)}`);
}

// ---- one file to give away

let packing;
export function openShare() {
  if (!s.model) return;
  $("share-title").value ||= s.model.source;
  $("share-box").showModal();
  showPacking();
}
export const pack = trying(async () => {
  await ask("api/share", { title: $("share-title").value, codes: s.kept.slice(0, 64).map(({ code }) => code) });
  await showPacking();
});
const showPacking = trying(async () => {
  clearTimeout(packing);
  const { state, done, total, text, bytes } = await ask("api/share");
  const busy = state === "packing";
  $("share-progress").hidden = !busy;
  $("share-progress").value = done / total;
  $("share-pack").disabled = busy;
  $("share-pack").classList.toggle("main", state !== "ready");
  $("share-pack").textContent = state === "ready" ? "Pack again" : "Pack";
  $("share-save").hidden = state !== "ready";
  const kept = s.kept.length === 1 ? "with the picture you kept" : s.kept.length ? `with the ${s.kept.length} pictures you kept` : "without kept pictures: keep some first, if you like";
  $("share-text").textContent = {
    none: `It will come ${kept}.`,
    packing: `Packing (${text}) … you can go on meanwhile.`,
    ready: `Ready: ${((bytes ?? 0) / 1e6).toFixed(1)} MB.`,
    failed: text,
  }[state];
  if (busy) packing = setTimeout(showPacking, 500);
});
