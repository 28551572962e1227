// The studio's page: opens a model, switches views, and connects controls and keys.
import { $, ask, on, say, trying } from "./api.js";
import { undo } from "./history.js";
import { keep, loop, more, openShare, pack, saveFilm, showKept } from "./kept.js";
import { limitNats, take } from "./photo.js";
import { clearMap, drawMap, moveOnMap, pointAt, takeHere } from "./plane.js";
import { fromText, s } from "./state.js";
import { breeding, copyCommand, copyLink, lookForKnown, makeSliders, paper, pick, reset, save, showAmount, surprise, vary } from "./steer.js";
import { act, inspect, startTraining, upload, watch } from "./train.js";
import { fresh, makePalette, moveOnWall } from "./wall.js";

const OTHER = "another …";

function view(name) {
  for (const id of ["explore", "plane", "train"]) $(id).hidden = id !== name;
  if (document.body.dataset.view !== name) say("");
  document.body.dataset.view = name;
  document.querySelectorAll("nav button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.view === name)));
  if (name === "plane") drawMap();
  if (name === "train") watch();
}
const takePhoto = take(view);

/** Ask for the directions until they are found: a search goes on when a request has waited for it too long. */
async function directionsOf(mine) {
  while (s.model === mine) {
    try {
      return (await ask("api/directions")).directions;
    } catch (error) {
      if (error.status !== 429 && error.status !== 503) throw error;
      await new Promise((go) => setTimeout(go, 1000));
    }
  }
}
/** Finding what the model's codes mean takes a while the first time: the sliders come when they are known. */
const findDirections = trying(async (mine) => {
  $("finding").hidden = false;
  const directions = await directionsOf(mine);
  if (s.model !== mine) return;
  $("finding").hidden = true;
  s.model.directions = directions;
  for (const state of [...s.states, s.chosen]) if (state) state.offsets = directions.map(() => 0);
  makeSliders();
  document.documentElement.dataset.directions = "true";
});
const opened = trying(async () => {
  const found = /[#&]code=([\w-]+=*)/.exec(location.hash);
  const code = found && s.model && fromText(found[1]);
  if (!code) return;
  const mine = ++s.wish;
  const { pictures, usual } = await ask("api/decode", { codes: [code] });
  if (s.wish !== mine) return; // another picture was chosen meanwhile
  view("explore");
  pick(code, pictures[0], null, null, usual[0]);
});
const lastPart = (path) => path.split("/").at(-1);
async function listModels() {
  const { models, in_use } = await ask("api/models");
  const named = models.includes(in_use) || models.some((each) => each === lastPart(in_use)) ? models : [...models, in_use];
  $("model").replaceChildren(...named.map((name) => new Option(lastPart(name), name, false, name === in_use || name === lastPart(in_use))), new Option(OTHER, ""));
}
const open = trying(async () => {
  delete document.documentElement.dataset.directions;
  s.model = s.chosen = null;
  s.wish++;
  s.kept.length = s.states.length = 0;
  s.now = -1;
  breeding(false);
  clearMap();
  $("share-title").value = "";
  $("wall").replaceChildren(); // its pictures are of the model before
  $("panel").hidden = true;
  $("empty").hidden = false;
  $("sampler").replaceChildren(new Option("auto"));
  const wall = fresh();
  s.model = { ...(await ask("api/model")), directions: [] };
  $("sampler").replaceChildren(new Option(`auto (${s.model.sampler})`, "auto"), ...s.model.samplers.map((name) => new Option(name)));
  makePalette();
  makeSliders();
  showKept();
  if (!$("plane").hidden) drawMap();
  findDirections(s.model);
  await Promise.all([wall, listModels()]);
  await opened();
});
const use = trying(async (name) => {
  say("Opening the model …");
  $("model").disabled = $("run-use").disabled = true;
  try {
    await ask("api/model", { name });
    history.replaceState(null, "", location.pathname + location.search); // without a code of the model before
    view("explore");
    await open();
  } finally {
    $("model").disabled = false;
  }
});
async function chooseModel() {
  const place = $("model").value || prompt("Where is the model or the run? The whole path, such as /home/me/runs/garden");
  if (place) await use(place);
  listModels();
}

on("fresh", fresh);
on("temperature", () => showAmount("temperature", 2), "input");
on("temperature", fresh, "change");
on("colourful", fresh, "change");
on("sampler", fresh, "change");
on("model", chooseModel, "change");
on("keep", keep);
on("vary", vary);
on("amount", () => showAmount("amount", 1), "input");
on("breed", () => breeding());
on("undo", undo);
on("reset", reset);
on("surprise", surprise);
on("save", save);
on("paper", paper);
on("link", copyLink);
on("command", copyCommand);
on("known-look", lookForKnown);
on("close", () => (($("panel").hidden = true), ($("empty").hidden = false), s.chosen?.button?.focus()));
on("loop", loop);
on("more", more);
on("share", openShare);
on("share-pack", pack);
on("share-close", () => $("share-box").close());
on("film-close", () => $("film").close());
for (const format of ["WEBP", "GIF", "MP4"]) on(`film-${format.toLowerCase()}`, saveFilm(format));
on("photo", () => $("photo-file").click());
on("photo-file", () => $("photo-file").files[0] && takePhoto($("photo-file").files[0]).then(() => ($("photo-file").value = "")), "change");
on("nats", limitNats, "input");
on("choose-folder", () => $("folder-files").click());
on("folder-files", () => upload($("folder-files").files), "change");
on("source", () => ($("report").hidden = true), "input"); // it is of another folder
on("look", inspect);
on("start", startTraining);
on("run-stop", act("stop"));
on("run-resume", act("resume"));
on("run-use", () => use($("run-use").dataset.path));
document.querySelectorAll("nav button").forEach((button) => button.addEventListener("click", () => view(button.dataset.view)));
on("map", pointAt, "pointermove");
on("map", () => ($("under").hidden = true), "pointerleave");
on("map", () => takeHere(view));
on("map", (event) => moveOnMap(event, view), "keydown");
on("wall", moveOnWall, "keydown");
document.addEventListener("keydown", (event) => {
  if (/text|file/.test(event.target.type ?? "") || event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  const keys = { n: fresh, l: () => !$("loop").disabled && loop() };
  if (s.chosen) Object.assign(keys, { k: keep, v: vary, b: () => breeding(), z: undo, r: reset, s: save, m: surprise, Escape: () => $("close").click() });
  keys[event.key]?.();
});
document.addEventListener("dragover", (event) => (event.preventDefault(), document.body.classList.add("dropping")));
document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files[0]) takePhoto(event.dataTransfer.files[0]);
});
addEventListener("hashchange", opened);
setInterval(() => !$("train").hidden && watch(), 2000);
open();
