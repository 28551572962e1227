// Asking the server, and small tools. The page knows the server by its documented routes alone (openapi.json).
import { s } from "./state.js";

export const $ = (id) => document.getElementById(id);
export const say = (sentence) => ($("status").textContent = sentence);
export const made = (tag, facts = {}, ...inside) => {
  const node = Object.assign(document.createElement(tag), facts);
  node.append(...inside);
  return node;
};
export const on = (id, act, kind = "click") => $(id).addEventListener(kind, act);

export async function ask(path, body, method = body === undefined ? "GET" : "POST") {
  const raw = body instanceof Blob || body instanceof ArrayBuffer;
  const headers = s.model ? { "betabloom-model": s.model.fingerprint } : {};
  if (!raw && body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {
    method,
    body: raw ? body : body === undefined ? undefined : JSON.stringify(body),
    headers,
  }).catch(() => {
    throw new Error("The studio does not answer. Was it closed? Start it again and reload this page.");
  });
  if (!answer.ok) {
    const sentence = (await answer.json().catch(() => ({}))).error ?? `The studio answered ${answer.status}.`;
    throw Object.assign(new Error(sentence), { status: answer.status });
  }
  return answer.headers.get("content-type").startsWith("application/json") ? answer.json() : answer.blob();
}
/** Run what a person asked for, and say what went wrong. */
export const trying = (act) => async (...words) => {
  try {
    return await act(...words);
  } catch (error) {
    say(error.message);
  }
};
export function download(blob, name) {
  const link = made("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 2000);
}
export async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    say(said);
  } catch {
    say(text);
  }
}
