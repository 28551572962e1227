// What the page knows: the model, the chosen picture, what was kept, and every state before.
export const s = {
  model: null, // what /api/model says, with its directions
  chosen: null, // { base, offsets, origin, photo, share, button }
  wish: 0, // how often a picture was chosen or asked to be: what comes late is of an older wish
  seed: Math.floor(Math.random() * 1e6),
  kept: [], // { code, picture, mark }
  states: [], // { base, offsets, origin, photo, share, picture, parent }: a tree
  now: -1,
  breeding: false,
  sliders: [],
  wall: [], // codes on it
};

/** The code of a state: its base, moved by its sliders. */
export function steered(state = s.chosen) {
  const code = state.photo ? limited(state) : [...state.base];
  s.model.directions.forEach(({ step }, d) => {
    if (state.offsets[d]) for (let k = 0; k < code.length; k++) code[k] += state.offsets[d] * step[k];
  });
  return code;
}
/** A photo's code with its most telling dimensions alone: the others at the mean of the model's codes. */
function limited({ base, photo, share }) {
  let left = ((share ?? 100) / 100) * photo.total;
  const code = [...s.model.mean];
  for (const k of photo.order) {
    if (left < photo.nats[k] && (share ?? 100) < 100) break;
    left -= photo.nats[k];
    code[k] = base[k];
  }
  return code;
}
export const same = (a, b) => a.every((x, k) => x === b[k]);
export const asText = (code) =>
  btoa(String.fromCharCode(...new Uint8Array(Float32Array.from(code).buffer))).replaceAll("+", "-").replaceAll("/", "_");
export function fromText(text) {
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  return bytes.length === 4 * s.model.latents ? [...new Float32Array(bytes.buffer)] : null;
}
