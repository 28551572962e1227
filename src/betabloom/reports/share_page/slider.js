// One slider of a direction, with a name that can be changed and a lock: in shared files and in the studio alike.
"use strict";

/** Add a row with a slider to `place`; `moved` is called with its value. Returns the input. */
function addSlider(place, name, number, moved) {
  const made = (tag, facts) => Object.assign(document.createElement(tag), facts);
  const row = made("div", { className: "slider" });
  const title = made("input", { type: "text", value: name, ariaLabel: `Name of slider ${number}` });
  const input = made("input", { type: "range", min: -4, max: 4, step: 0.05, value: 0, ariaLabel: name });
  const lock = made("button", { textContent: "Lock", title: "A locked slider stays where it is" });
  Object.assign(lock, { ariaPressed: "false", ariaLabel: `Lock slider ${number}` });
  title.addEventListener("input", () => (input.ariaLabel = title.value));
  input.addEventListener("input", () => moved(Number(input.value)));
  lock.addEventListener("click", () => {
    input.disabled = !input.disabled;
    lock.ariaPressed = String(input.disabled);
    lock.textContent = input.disabled ? "Unlock" : "Lock";
  });
  row.append(title, input, lock);
  place.append(row);
  return input;
}
globalThis.addSlider = addSlider;
