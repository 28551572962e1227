// History is a tree: going back and doing something else begins a branch.
import { $, made } from "./api.js";
import { s, steered } from "./state.js";
import { choose, follow, portray } from "./steer.js";
import { tile } from "./wall.js";

const STEP = 46; // pixels from one state to the next

export function remember(picture) {
  const state = { ...s.chosen, offsets: [...s.chosen.offsets], picture, parent: s.now };
  if (!picture) portray(state, steered(state), showHistory);
  s.states.push(state);
  s.now = s.states.length - 1;
  showHistory();
}
function go(place) {
  s.now = place;
  const { base, offsets, origin, photo, share, picture } = s.states[place];
  choose({ base, offsets: [...offsets], origin, photo, share }, picture);
  follow();
  showHistory();
}
export const undo = () => s.now >= 0 && s.states[s.now].parent >= 0 && go(s.states[s.now].parent);

/** How deep each state is, and in which lane: the first child goes on in its parent's, others in new ones. */
function places() {
  const taken = new Set();
  let lanes = 0;
  const found = [];
  s.states.forEach(({ parent }) => {
    const first = parent >= 0 && !taken.has(parent);
    taken.add(parent);
    found.push({ depth: parent < 0 ? 0 : found[parent].depth + 1, lane: first ? found[parent].lane : lanes++ });
  });
  return found;
}
export function showHistory() {
  $("undo").disabled = s.now < 0 || s.states[s.now].parent < 0;
  const where = places();
  const field = made("div", { className: "tree" });
  field.style.width = `${STEP * (1 + Math.max(0, ...where.map(({ depth }) => depth)))}px`;
  field.style.height = `${STEP * (1 + Math.max(0, ...where.map(({ lane }) => lane)))}px`;
  s.states.forEach(({ picture, parent }, i) => {
    const { depth, lane } = where[i];
    const button = tile(picture, `State ${i + 1}${parent >= 0 ? `, after state ${parent + 1}` : ""}`, () => go(i));
    button.classList.toggle("branch", parent >= 0 && where[parent].lane !== lane);
    button.setAttribute("aria-current", String(i === s.now));
    Object.assign(button.style, { left: `${STEP * depth}px`, top: `${STEP * lane}px` });
    if (parent >= 0) {
      const line = made("i");
      const up = where[parent];
      Object.assign(line.style, { left: `${STEP * up.depth + 20}px`, top: `${STEP * up.lane + 20}px`, width: `${STEP}px`, height: `${STEP * (lane - up.lane)}px` });
      field.prepend(line);
    }
    field.append(button);
  });
  $("history").replaceChildren(field);
}
