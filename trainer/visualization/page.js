// Shows the rows of the token under the mouse or chosen; asks for nothing, stores nothing.
"use strict";
const data = JSON.parse(document.getElementById("maps").textContent);
const bytes = text => text ? Uint8Array.from(atob(text), letter => letter.charCodeAt(0)) : null;
const weights = {primary: bytes(data.primary), secondary: bytes(data.secondary)};
const frames = data.frames, layers = data.layers.length;
const at = id => document.getElementById(id);
const audio = at("audio"), view = at("view"), seconds = frames * data.frame;
const chosen = {token: 0, shown: -1};

// Bytes hold square roots, of the token's largest weight.
function row(kind, token, layer) {
  const start = (token * layers + layer) * frames, most = data[kind + "_most"][token];
  return Array.from(weights[kind].subarray(start, start + frames), value => (value / 255) ** 2 * most);
}
function mean(kind, token) {
  const sum = new Float64Array(frames);
  for (let layer = 0; layer < layers; layer++) row(kind, token, layer).forEach((value, i) => sum[i] += value / layers);
  return sum;
}
function line(values, most) {
  const points = Array.from(values, (value, i) => `${(i + .5).toFixed(1)},${(100 - 96 * value / most).toFixed(2)}`);
  return points.join(" ");
}
function upright(id, second) { // frame s is the 20 ms around its second
  for (const end of ["x1", "x2"]) at(id).setAttribute(end, second / data.frame + .5);
}
function strip(kind, token) {
  const canvas = at("strip-" + kind), context = canvas.getContext("2d");
  canvas.width = frames; canvas.height = layers;
  const image = context.createImageData(frames, layers);
  const hex = getComputedStyle(document.documentElement).getPropertyValue("--" + kind).trim();
  const color = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16)), start = token * layers * frames;
  const scale = Math.sqrt(data[kind + "_most"][token] / data[kind + "_strip"][token]); // clamped at 255 by the array
  for (let i = 0; i < frames * layers; i++) {
    image.data.set([...color, scale * weights[kind][start + i]], 4 * i);
  }
  context.putImageData(image, 0, 0);
}
function show(token) {
  if (token === chosen.shown) return;
  chosen.shown = token;
  const lines = {};
  for (const kind of ["primary", "secondary"]) if (weights[kind]) lines[kind] = mean(kind, token);
  const most = data.top[token];
  for (const kind in lines) {
    at("line-" + kind).setAttribute("points", line(lines[kind], most));
    strip(kind, token);
  }
  at("top").textContent = most.toPrecision(2);
  upright("peak", data.peaks[token]);
  at("said").textContent = data.told[token];
  const gates = at("gates");
  if (gates) for (let layer = 0; layer < layers; layer++) {
    const bar = gates.children[layer];
    bar.querySelector("i").style.width = `${100 * data.gates[token][layer]}%`;
    bar.querySelector("b").textContent = data.gates[token][layer].toFixed(2);
  }
  for (const marked of document.querySelectorAll(".shown")) marked.classList.remove("shown");
  for (const mine of document.querySelectorAll(`[data-token="${token}"]`)) mine.classList.add("shown");
}
function choose(token) {
  chosen.token = Math.min(Math.max(token, 0), data.peaks.length - 1);
  for (const button of document.querySelectorAll("button[data-token]")) {
    button.setAttribute("aria-pressed", Number(button.dataset.token) === chosen.token);
  }
  show(chosen.token);
}
const tokenOf = event => event.target.closest?.("[data-token]")?.dataset.token;
document.addEventListener("mouseover", event => { if (tokenOf(event)) show(Number(tokenOf(event))); });
document.addEventListener("focusin", event => { if (tokenOf(event)) show(Number(tokenOf(event))); });
document.addEventListener("mouseout", event => { if (tokenOf(event)) show(chosen.token); });
document.addEventListener("click", event => {
  if (!tokenOf(event)) return;
  choose(Number(tokenOf(event)));
  audio.currentTime = Math.max(0, data.peaks[chosen.token] - .3);
});
document.addEventListener("keydown", event => {
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (step && event.target !== audio) { event.preventDefault(); choose(chosen.token + step); }
});
view.addEventListener("click", event => {
  const box = view.getBoundingClientRect();
  audio.currentTime = (event.clientX - box.left) / box.width * seconds;
});
function follow() {
  upright("playing", audio.currentTime);
  if (!audio.paused) requestAnimationFrame(follow);
}
for (const kind of ["play", "seeked", "pause"]) audio.addEventListener(kind, follow);
at("looker").hidden = false;
choose(0);
