// One slider of a direction, with a name that can be changed, a lock and a way back: in shared files and in the studio.
"use strict";

/** Add a row with a slider to `place`; `moved` is called with its value. Returns the input; `show(value)` sets it. */
function addSlider(place, name, number, moved) {
  const made = (tag, facts) => Object.assign(document.createElement(tag), facts);
  const row = made("div", { className: "slider" });
  if (name === "unnamed") name = `direction ${number}`;
  const title = made("input", { type: "text", value: name, title: "Click to rename", ariaLabel: `Name of slider ${number}` });
  const input = made("input", { type: "range", min: -4, max: 4, step: 0.05, value: 0, ariaLabel: name });
  const back = made("button", { textContent: "↺", className: "back", title: "Back to the middle", ariaLabel: `Reset slider ${number}` });
  const lock = made("button", { textContent: "Lock", title: "A locked slider stays where it is", className: "lock" });
  Object.assign(lock, { ariaPressed: "false", ariaLabel: `Lock slider ${number}` });
  input.show = (value) => {
    input.value = value;
    row.classList.toggle("moved", Number(input.value) !== 0);
  };
  const move = () => {
    row.classList.toggle("moved", Number(input.value) !== 0);
    moved(Number(input.value));
  };
  const reset = () => {
    if (input.disabled) return;
    input.value = 0;
    move();
    input.dispatchEvent(new Event("change"));
  };
  title.addEventListener("input", () => (input.ariaLabel = title.value));
  input.addEventListener("input", move);
  input.addEventListener("dblclick", reset);
  back.addEventListener("click", reset);
  lock.addEventListener("click", () => {
    input.disabled = !input.disabled;
    lock.ariaPressed = String(input.disabled);
    lock.textContent = input.disabled ? "Unlock" : "Lock";
  });
  row.append(title, input, back, lock);
  place.append(row);
  return input;
}
globalThis.addSlider = addSlider;
