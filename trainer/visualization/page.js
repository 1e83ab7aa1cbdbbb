// Shows the rows of the token under the mouse or chosen; asks for nothing, stores nothing.
"use strict";
const data = JSON.parse(document.getElementById("maps").textContent);
const bytes = text => text ? Uint8Array.from(atob(text), letter => letter.charCodeAt(0)) : null;
const weights = {primary: bytes(data.primary), secondary: bytes(data.secondary)};
const kinds = Object.keys(weights).filter(kind => weights[kind]), layers = data.layers.length;
const at = id => document.getElementById(id);
const audios = data.views.map((view, number) => at("audio-" + number));
const mix = data.gates || data.first_shares; // [token][layer]
const framesOf = kind => data.views[data[kind + "_view"]].frames;
const chosen = {token: 0, shown: -1};

// Bytes hold square roots, of the token's largest weight.
function row(kind, token, layer) {
  const frames = framesOf(kind), start = (token * layers + layer) * frames, most = data[kind + "_most"][token];
  return Array.from(weights[kind].subarray(start, start + frames), value => (value / 255) ** 2 * most);
}
function mean(kind, token) {
  const sum = new Float64Array(framesOf(kind));
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
  const canvas = at("strip-" + kind), context = canvas.getContext("2d"), frames = framesOf(kind);
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
  for (const kind of kinds) lines[kind] = mean(kind, token);
  const most = data.top[token];
  for (const kind in lines) {
    at("line-" + kind).setAttribute("points", line(lines[kind], most));
    strip(kind, token);
  }
  at("top").textContent = most.toPrecision(2);
  data.views.forEach((view, number) => upright("peak-" + number, view.peaks[token]));
  at("said").textContent = data.told[token];
  const gates = at("gates");
  if (gates) for (let layer = 0; layer < layers; layer++) {
    const bar = gates.children[layer];
    bar.querySelector("i").style.width = `${100 * mix[token][layer]}%`;
    bar.querySelector("b").textContent = mix[token][layer].toFixed(2);
  }
  for (const marked of document.querySelectorAll(".shown")) marked.classList.remove("shown");
  for (const mine of document.querySelectorAll(`[data-token="${token}"]`)) mine.classList.add("shown");
}
function choose(token) {
  chosen.token = Math.min(Math.max(token, 0), data.told.length - 1);
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
  audios.forEach((audio, number) => audio.currentTime = Math.max(0, data.views[number].peaks[chosen.token] - .3));
});
document.addEventListener("keydown", event => {
  const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (step && !audios.includes(event.target)) { event.preventDefault(); choose(chosen.token + step); }
});
audios.forEach((audio, number) => {
  const view = at("view-" + number), seconds = data.views[number].frames * data.frame;
  view.addEventListener("click", event => {
    const box = view.getBoundingClientRect();
    audio.currentTime = (event.clientX - box.left) / box.width * seconds;
  });
  function follow() {
    upright("playing-" + number, audio.currentTime);
    if (!audio.paused) requestAnimationFrame(follow);
  }
  for (const kind of ["play", "seeked", "pause"]) audio.addEventListener(kind, follow);
  audio.addEventListener("play", () => audios.forEach(other => { if (other !== audio) other.pause(); }));
});
at("looker").hidden = false;
choose(0);
