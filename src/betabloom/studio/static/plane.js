// The map: pictures at the places of their codes; what lies under the pointer is decoded.
import { $, ask, made, trying } from "./api.js";
import { s } from "./state.js";
import { pick } from "./steer.js";

const [WIDTH, HEIGHT, SIDE] = [1400, 800, 64];
let plane = null; // of the model in use
export function clearMap() {
  plane = pointed = null;
  $("under").hidden = true;
  delete $("map").dataset.drawn;
  $("map").getContext("2d").clearRect(0, 0, WIDTH, HEIGHT);
}
export const drawMap = trying(async () => {
  if (!s.model || plane) return;
  const mine = s.model;
  const found = await ask("api/map", {});
  const images = await Promise.all(found.pictures.map((src) => decoded(src)));
  if (s.model !== mine || plane) return;
  plane = found;
  const context = $("map").getContext("2d");
  images.forEach((image, i) => {
    const [x, y] = spot(plane.places[i]);
    context.save();
    context.beginPath();
    context.roundRect(x - SIDE / 2, y - SIDE / 2, SIDE, SIDE, 9);
    context.clip();
    context.drawImage(image, x - SIDE / 2, y - SIDE / 2, SIDE, SIDE);
    context.restore();
  });
  $("map").dataset.drawn = "true";
});
async function decoded(src) {
  const image = made("img", { src });
  await image.decode();
  return image;
}
const spot = ([x, y]) => [WIDTH / 2 + x * (WIDTH / 2 - 50), HEIGHT / 2 + y * (HEIGHT / 2 - 50)];
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
  return s.model.mean.map((m, k) => m + nearest.reduce((sum, [, i], j) => sum + (weights[j] / whole) * (plane.codes[i][k] - m), 0) / length);
}
let pointed = null;
let pointing = false;
let at = [WIDTH / 2, HEIGHT / 2];
const point = trying(async () => {
  if (pointing) return;
  pointing = true;
  try {
    while (pointed) {
      const [x, y] = (at = pointed);
      pointed = null;
      const code = codeAt(x, y);
      const asked = plane;
      const { pictures, usual } = await ask("api/decode", { codes: [code] });
      if (plane !== asked) return;
      const scale = $("map").clientWidth / WIDTH;
      const side = $("under").clientWidth || 128;
      Object.assign($("under"), { src: pictures[0], hidden: false });
      $("under").style.left = `${Math.max(0, Math.min(x * scale + 14, $("map").clientWidth - side - 14))}px`;
      $("under").style.top = `${Math.max(0, Math.min(y * scale + 14, $("map").clientHeight - side - 14))}px`;
      plane.here = { code, picture: pictures[0], usual: usual[0] };
    }
  } finally {
    pointing = false;
  }
});
export function pointAt(event) {
  const box = $("map").getBoundingClientRect();
  pointed = [((event.clientX - box.left) * WIDTH) / box.width, ((event.clientY - box.top) * HEIGHT) / box.height];
  if (plane) point();
}
export function moveOnMap(event, view) {
  if (event.key === "Enter") return takeHere(view);
  const [dx, dy] = { ArrowRight: [25, 0], ArrowLeft: [-25, 0], ArrowDown: [0, 25], ArrowUp: [0, -25] }[event.key] ?? [];
  if (dx === undefined || !plane) return;
  event.preventDefault();
  pointed = at = [Math.max(0, Math.min(WIDTH, at[0] + dx)), Math.max(0, Math.min(HEIGHT, at[1] + dy))];
  point();
}
export function takeHere(view) {
  if (!plane?.here) return;
  view("explore");
  pick(plane.here.code, plane.here.picture, null, null, plane.here.usual);
}
