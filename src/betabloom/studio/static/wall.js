// The wall of pictures, and what new ones are asked to be.
import { $, ask, made, say, trying } from "./api.js";
import { pick } from "./steer.js";
import { s } from "./state.js";

const FIRST = 12; // pictures that are asked for first, so that something is there at once
const IN_COLOURS = 4; // that are searched for at a time
const phone = () => innerWidth < 900;
export const count = () => (phone() ? 24 : 48);
let drawing = 0; // only what was asked for last is shown

export function tile(picture, label, act) {
  const button = made("button", { className: "tile" }, made("img", { src: picture, alt: "" }));
  button.setAttribute("aria-label", label);
  button.addEventListener("click", () => act(button));
  return button;
}
export const rarer = ({ percentile }) => (percentile < 0.1 ? "rarer than all that this model draws" : `rarer than ${(100 - percentile).toFixed(0)} % of what this model draws`);

function wallTile(found, i, place, origin) {
  const { codes, pictures, usual, near_copies: copies, satisfied } = found;
  const missed = satisfied && !satisfied[i];
  const facts = [usual && rarer(usual[i]), copies?.[i] && "near copy of a training picture", missed && "not quite the colours"];
  const act = (it) => pick(codes[i], pictures[i], origin?.(i) ?? null, it, usual?.[i]);
  const button = tile(pictures[i], [`Picture ${place + 1}`, ...facts.filter(Boolean)].join(", "), act);
  button.title = facts.filter(Boolean).join(" · ");
  button.classList.toggle("missed", Boolean(missed));
  if (copies?.[i]) button.append(made("span", { className: "badge", textContent: "near copy" }));
  button.setAttribute("role", "option");
  button.tabIndex = place ? -1 : 0;
  return button;
}
function append(found, origin) {
  const before = s.wall.length;
  s.wall.push(...found.codes);
  $("wall").append(...found.codes.map((_, i) => wallTile(found, i, before + i, origin)));
  document.documentElement.dataset.ready = "true";
}
/** Show these pictures, and no others. */
export function fill(found, origin) {
  drawing++;
  s.wall = [];
  $("wall").replaceChildren();
  $("drawing").hidden = true;
  append(found, origin);
}
/** Show the pictures of an answer, and say so, unless others were asked for meanwhile. */
export async function fillWith(answer, sentence) {
  const mine = ++drawing;
  $("drawing").hidden = true;
  const found = await answer;
  if (mine !== drawing) return;
  fill(found);
  say(sentence);
}
const chosenColours = () => [...$("palette").children].filter((it) => it.ariaPressed === "true").map((it) => it.dataset.colour);

let searching = null; // the search for colours that is on its way: of what is asked for meanwhile, only the newest is next
export const fresh = trying(async () => {
  const mine = ++drawing;
  s.seed += 1;
  const asked = { seed: s.seed, temperature: Number($("temperature").value), sampler: $("sampler").value || "auto" };
  const colours = { palette: chosenColours().join(","), colourful: $("colourful").checked };
  const coloured = Boolean(colours.palette || colours.colourful);
  const wanted = coloured ? count() / 2 : count();
  const step = coloured ? IN_COLOURS : wanted - FIRST;
  if (coloured) {
    say("Searching for pictures in these colours …");
    await searching;
    if (mine !== drawing) return;
  }
  for (let start = 0, n = coloured ? step : FIRST; start < wanted; start += n, n = Math.min(step, wanted - start)) {
    const answer = ask("api/draw", { ...asked, ...(coloured ? colours : {}), n, start }).finally(() => mine === drawing && ($("drawing").hidden = true));
    if (coloured) searching = answer.catch(() => {});
    const found = await answer;
    if (mine !== drawing) return;
    if (!start) (s.wall = []), $("wall").replaceChildren();
    const from = start;
    append(found, (i) => ({ ...asked, ...colours, number: from + i }));
    $("drawing").hidden = !coloured || start + n >= wanted;
    $("drawing").value = (start + n) / wanted;
    if (coloured) say(`${start + n} of ${wanted} pictures in these colours.`);
  }
  say(coloured ? `${wanted} pictures in these colours.` : `${wanted} new pictures, seed ${asked.seed}.`);
});

export function makePalette() {
  if ($("palette").children.length) return;
  for (const { name, typical } of s.model.colours) {
    const button = made("button", { className: "swatch", title: name, ariaLabel: name, ariaPressed: "false" });
    button.dataset.colour = name;
    button.style.setProperty("--swatch", `rgb(${typical.join(" ")})`);
    button.addEventListener("click", () => {
      button.ariaPressed = String(button.ariaPressed !== "true");
      fresh();
    });
    $("palette").append(button);
  }
}
export function moveOnWall(event) {
  const tiles = [...$("wall").children];
  const columns = getComputedStyle($("wall")).gridTemplateColumns.split(" ").length;
  const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (move === undefined) return;
  event.preventDefault();
  tiles[Math.max(0, Math.min(tiles.length - 1, tiles.indexOf(document.activeElement) + move))]?.focus();
}
