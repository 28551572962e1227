// A photo, or a picture that betabloom made.
import { $, ask, say, trying } from "./api.js";
import { remember } from "./history.js";
import { s } from "./state.js";
import { choose, follow, pick, showNats } from "./steer.js";
import { fill, tile } from "./wall.js";

const GHOSTS = 6;
const OURS = ["image/png", "image/webp", "image/gif"];

/** Whether it may be one of ours: a PNG of ours has the word in plain text, so that no other one has to be sent to find out. */
async function mayBeOurs(file) {
  if (!OURS.includes(file.type)) return false;
  return file.type !== "image/png" || new TextDecoder("latin1").decode(await file.arrayBuffer()).includes("betabloom");
}
async function restored(file, mine) {
  const refused = (error) => (/not a picture that betabloom/.test(error.message) ? null : Promise.reject(error));
  const found = (await mayBeOurs(file)) ? await ask("api/restore", file).catch(refused) : null;
  if (!found) return false;
  if (s.wish !== mine) return true;
  fill(found, () => null);
  pick(found.codes[0], found.pictures[0], null, $("wall").firstElementChild, found.usual[0]);
  say("Here is what this picture was made of.");
  return true;
}
export const take = (view) =>
  trying(async (file) => {
    view("explore");
    const mine = ++s.wish;
    if (await restored(file, mine)) return;
    say("Looking at your photo …");
    const { code, nats, sigma, picture, reconstruction } = await ask("api/encode", file);
    if (s.wish !== mine) return; // another picture was chosen meanwhile
    const order = nats.map((_, k) => k).sort((a, b) => nats[b] - nats[a]);
    const total = nats.reduce((a, b) => a + b, 0);
    const photo = { picture, nats, sigma, order, total, draws: [] };
    choose({ base: code, offsets: s.model.directions.map(() => 0), origin: null, photo, share: 100 }, reconstruction);
    remember(reconstruction);
    await follow();
    await ghosts(photo, code);
    if (s.chosen?.photo === photo) say("Your photo as the model sees it. Move the sliders.");
  });
export function limitNats() {
  s.chosen.share = Number($("nats").value);
  showNats();
  follow();
}
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
/** Pictures of codes that the posterior draws for the photo. */
async function ghosts(photo, code) {
  const drawn = Array.from({ length: GHOSTS }, () => code.map((x, k) => x + photo.sigma[k] * normal()));
  const { pictures, usual } = await ask("api/decode", { codes: drawn });
  photo.draws = pictures.map((each, i) => tile(each, `Draw ${i + 1} of the posterior`, () => pick(drawn[i], each, null, null, usual[i])));
  if (s.chosen?.photo === photo) $("ghosts").replaceChildren(...photo.draws);
}
