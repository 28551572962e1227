// Training: choose pictures, see what is in them, start, watch, stop, resume.
import { $, ask, made, say, trying } from "./api.js";
import { s } from "./state.js";

let watched = null;
export const inspect = trying(async () => {
  $("report").hidden = false;
  $("report").textContent = "Looking …";
  const source = $("source").value;
  const found = await ask("api/inspect", { source }).catch((error) => ({ report: error.message }));
  if ($("source").value !== source) return;
  $("report").hidden = false;
  $("report").textContent = found.report;
  if (found.few) $("from").value = "model"; // of few pictures alone too little is learned
});
export const upload = trying(async (files) => {
  const pictures = [...files].filter((file) => /\.(jpe?g|png|webp|gif|bmp|tiff?|avif|heic)$/i.test(file.name));
  if (!pictures.length) return say("There is no picture in that folder.");
  const folder = (pictures[0].webkitRelativePath.split("/")[0] || "pictures").replace(/[^A-Za-z0-9 ._-]/g, "-").replace(/^[^A-Za-z0-9]+/, "") || "pictures";
  $("upload").hidden = false;
  let done = 0;
  let refused = 0;
  const waiting = [...pictures.entries()];
  const worker = async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const [i, file] = next;
      const name = `${String(i).padStart(5, "0")}-${file.name.replace(/[^A-Za-z0-9._-]/g, "-").slice(-60)}`;
      await ask(`api/folders/${encodeURIComponent(folder)}/${encodeURIComponent(name)}`, file, "PUT").catch(() => refused++);
      $("upload").value = ++done / pictures.length;
      say(`${done} of ${pictures.length} pictures copied.`);
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  $("upload").hidden = true;
  const { folders } = await ask("api/folders");
  $("source").value = folders.find(({ name }) => name === folder).path;
  if ($("run-name").value === "my pictures") $("run-name").value = folder;
  say(refused ? `${pictures.length - refused} pictures are here; ${refused} could not be copied.` : `${pictures.length} pictures are here.`);
  await inspect();
});
export const startTraining = trying(async () => {
  const asked = { source: $("source").value, name: $("run-name").value, budget: $("budget").value, model: $("from").value && s.model.name };
  $("start").disabled = true;
  const { name } = await ask("api/runs", asked).finally(() => ($("start").disabled = false));
  watched = name;
  say(`The training of ${name} has begun.`);
  await watch();
});
let acting = false;
/** Stop or resume the training that is shown. */
export const act = (what) =>
  trying(async () => {
    acting = $("run-stop").disabled = $("run-resume").disabled = true;
    await ask(`api/runs/${encodeURIComponent($("run-title").textContent)}/${what}`, {}).finally(() => (acting = false));
    await watch();
  });
const WORDS = { running: "training", finished: "finished", stopped: "stopped", failed: "failed" };
export const watch = trying(async () => {
  const { runs } = await ask("api/runs");
  $("no-runs").hidden = runs.length > 0;
  watched ??= runs[0]?.name ?? null;
  if (runs.length !== $("runs").children.length || runs.some(({ name, state }, i) => $("runs").children[i].dataset.as !== `${name} ${state} ${watched}`)) showRuns(runs);
  $("run").hidden = !watched;
  if (!watched) return;
  const run = await ask(`api/runs/${encodeURIComponent(watched)}`);
  if (run.name === watched) await showRun(run);
});
function showRuns(runs) {
  $("runs").replaceChildren(
    ...runs.map(({ name, state }) => {
      const button = made("button", { textContent: `${name} · ${WORDS[state]}`, className: "run" });
      button.dataset.as = `${name} ${state} ${watched}`;
      button.setAttribute("aria-pressed", String(name === watched));
      button.addEventListener("click", () => ((watched = name), watch()));
      return button;
    }),
  );
}
let shown = "";
async function showRun(run) {
  if (run.name !== $("run-title").textContent || !run.has_sample) {
    $("run-sample").hidden = true;
    shown = "";
  }
  $("run-title").textContent = run.name;
  $("run-state").textContent = run.state;
  $("run-state").dataset.state = run.state;
  $("run-said").textContent = run.said.split("\n").slice(-12).join("\n");
  const running = run.state === "running";
  $("run-stop").disabled = acting || !running;
  $("run-resume").disabled = acting || run.state !== "stopped";
  $("run-use").disabled = $("model").disabled || !run.has_model; // a model is being opened
  $("run-use").dataset.path = run.path;
  $("run-progress").hidden = !running;
  if (run.share) $("run-progress").value = run.share;
  else $("run-progress").removeAttribute("value");
  $("run-left").textContent = running ? (run.share ? `${Math.round(100 * run.share)} % of its time` : "preparing the pictures") : run.state === "failed" ? run.said.split("\n").at(-1) : "";
  curve(run.records);
  const newest = `${run.name} ${run.records.length} ${run.state}`;
  if (!run.has_sample || newest === shown) return;
  shown = newest;
  const sample = await ask(`api/runs/${encodeURIComponent(run.name)}/sample`);
  if (newest !== shown) return;
  URL.revokeObjectURL($("run-sample").src);
  $("run-sample").src = URL.createObjectURL(sample);
  $("run-sample").hidden = false;
}
function curve(records) {
  const lines = ["train", "validation"].map((split) => records.filter((r) => r.split === split && Number.isFinite(r.distortion)).slice(split === "train" ? 1 : 0));
  const all = lines.flat();
  const svg = $("curve");
  svg.replaceChildren();
  svg.classList.toggle("bare", all.length < 2);
  if (all.length < 2) return;
  const [low, high] = [Math.min(...all.map((r) => r.distortion)), Math.max(...all.map((r) => r.distortion))];
  const last = Math.max(...all.map((r) => r.step));
  const put = (name, facts, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(facts)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    svg.append(node);
  };
  put("line", { x1: 20, x2: 380, y1: 180, y2: 180, class: "axis" });
  lines.forEach((line, i) => {
    const points = line.map((r) => `${20 + (360 * r.step) / last},${172 - (150 * (r.distortion - low)) / (high - low || 1)}`).join(" ");
    put("polyline", { points, class: i ? "held-out" : "train" });
  });
  put("text", { x: 20, y: 203 }, `distortion in nats, ${last.toLocaleString("en")} steps; thick: held-out pictures`);
}
