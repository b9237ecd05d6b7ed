// A map of what moves. What it says to the gateway, by heliograph.js:
//
//   PROJECTION epsg:2056     from now on all coordinates are in that
//   GET ground               the outline, lakes, railways, towns and the graticule
//   BBOX l b r t exit=1      only what is in this box, and what leaves it
//   SUB objects snapshot=1   where all of that is, and from then on each change
//   SUB stats                what is published altogether
//
// Here is what comes of the answers; view.js knows the mouse, draw.js the pencils.

import { connect } from "/heliograph.js";
import { View } from "./view.js";
import { Painter, position } from "./draw.js";

const $ = id => document.getElementById(id);
const kinds = ["train", "boat", "plane"];

let ground = new Map(); // features by id
const objects = new Map(); // what is in the box, by id

const painter = new Painter($("map"));
const view = new View($("map"), () => {
  painter.change();
  lookSoon();
});

// --- the connection

const h = connect("/ws");
let drawn; // the subscription of objects
let asked = 0; // projections that were asked for
let ready = false; // the ground is there in the last of them

h.on("state", ({ state }) => {
  put("state", state === "open" ? "connected" : "connecting");
  $("state").classList.toggle("open", state === "open");
  put("error", "");
  if (state === "open") project(); // the gateway knows none yet
  else forget();
});

// Forget drops the objects, and what has been measured of them.
function forget() {
  ready = false;
  drawn?.close();
  objects.clear();
  samples.length = 0;
}

// Project asks for another projection. Objects are not followed until all of the
// ground has come: none is drawn at its place on another map.
async function project() {
  if (h.state !== "open") return; // and when it is, it begins with that
  const mine = ++asked;
  forget();
  const code = `epsg:${$("projection").value}`;
  $("projected").textContent = `PROJECTION ${code}`;
  try {
    const [, , features] = await Promise.all([h.command("BBOX"), h.command("PROJECTION", [code]), h.get("ground")]);
    if (mine !== asked) return;
    features.forEach(count);
    ground = new Map(features.map(f => [f.id, f]));
    const country = ground.get("Switzerland");
    if (!country) return projectSoon(); // Redis is empty
    const [xs, ys] = [0, 1].map(i => country.geometry.coordinates[0].map(p => p[i]));
    view.change([Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)]);
    ready = true;
    look(); // a box that comes after the projection is in its units
    put("error", "");
    drawn = h.subscribe("objects", { snapshot: true });
    await follow(drawn, place);
  } catch (error) {
    failed(error);
  }
}

// Follow does something with the messages of a channel.
async function follow(messages, use) {
  for await (const { content } of messages) {
    count(content);
    if (content) use(content);
  }
}

function failed({ code, command, message }) {
  if (code === "disconnected" || code === "closed") return;
  put("error", `${command ?? ""} ${code}: ${message}`);
  if (code === "unavailable") projectSoon();
}

let again; // a timer

// ProjectSoon begins anew, when something could not be had.
function projectSoon() {
  again ??= setTimeout(() => {
    again = undefined;
    project();
  }, 1000);
}

let soon; // another
let box = []; // left, bottom, right and top as last sent to the gateway

// LookSoon sends the visible box to the gateway, at most ten times a second.
function lookSoon() {
  soon ??= setTimeout(look, 100);
}

function look() {
  clearTimeout(soon);
  soon = undefined;
  if (!ready || !view.extent) return;
  box = view.box(12).map(v => Number(v.toPrecision(9)));
  for (const [id, o] of objects) { // the gateway announces what leaves the box, not what the box leaves
    if (!inBox(o.to)) objects.delete(id);
  }
  $("box").textContent = `BBOX ${box.join(" ")} exit=1`;
  h.command("BBOX", box, { options: { exit: 1 } }).catch(failed);
}

const inBox = ([x, y]) => x > box[0] && y > box[1] && x < box[2] && y < box[3];

// --- what comes

const came = { messages: 0, bytes: 0, objects: 0, left: 0 };
const utf8 = new TextEncoder();

function count(content) {
  came.messages++;
  came.bytes += utf8.encode(JSON.stringify(content)).length;
}

const trail = 16; // messages that an object's trail is long

function place(f) {
  came.objects++;
  if (!f.geometry) { // it has left the box
    if (objects.delete(f.id)) came.left++;
    return;
  }
  const to = f.geometry.coordinates, now = performance.now(), o = objects.get(f.id);
  if (!inBox(to)) return; // it was sent before the gateway knew of this box
  if (!o) {
    const angle = ((f.properties.course ?? 90) - 90) * Math.PI / 180; // until it has been seen to move
    objects.set(f.id, { ...f.properties, from: to, to, time: now, every: 500, angle, trail: [] });
    return;
  }
  const [dx, dy] = [to[0] - o.to[0], to[1] - o.to[1]];
  if (dx || dy) o.angle = Math.atan2(-dy, dx);
  o.trail.push(o.to);
  if (o.trail.length > trail) o.trail.shift();
  o.from = position(o, now);
  o.to = to;
  o.every = Math.min(Math.max(now - o.time, 100), 1500);
  o.time = now;
}

const samples = []; // of the last seconds: what was published, and what came

// Measure compares what comes with what is published.
function measure(total) {
  if (samples.length > 0 && total.messages < samples.at(-1).published) samples.length = 0; // it has begun anew
  samples.push({ published: total.messages, came: came.objects, bytes: came.bytes, time: performance.now() });
  if (samples.length > 4) samples.shift();
  const [first, last] = [samples[0], samples.at(-1)];
  const seconds = (last.time - first.time) / 1000, published = last.published - first.published;
  $("objects").textContent = total.objects;
  if (seconds === 0 || published === 0) return;
  const saved = Math.round(100 * Math.max(0, 1 - (last.came - first.came) / published));
  $("arriving").textContent = Math.round((last.came - first.came) / seconds);
  $("published").textContent = Math.round(published / seconds);
  $("speed").textContent = size((last.bytes - first.bytes) / seconds);
  $("saved").textContent = `${saved} %`;
  $("meter").value = saved;
}

const size = bytes => (bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

// --- what is seen

const silence = 5000; // ms after which an object is no more: ten messages of it are missing

function frame() {
  const now = performance.now();
  for (const [id, o] of objects) if (now - o.time > silence) objects.delete(id);
  painter.paint(view, ground, objects, now);
  for (const kind of kinds) put(`${kind}s`, [...objects.values()].filter(o => o.kind === kind).length);
  put("drawn", objects.size);
  put("left", came.left);
  put("messages", came.messages.toLocaleString("en"));
  put("bytes", size(came.bytes));
  point(now);
  requestAnimationFrame(frame);
}

// Put writes where something else stands.
function put(id, text) {
  if ($(id).textContent !== String(text)) $(id).textContent = text;
}

let mouse; // where it is over the map

// Point names the object under the mouse.
function point(now) {
  let best, distance = 14;
  for (const o of mouse ? objects.values() : []) {
    const [x, y] = view.toScreen(position(o, now));
    const d = Math.hypot(x - mouse[0], y - mouse[1]);
    if (d < distance) [best, distance] = [{ o, x, y }, d];
  }
  $("tip").hidden = !best;
  if (!best) return;
  put("tip", best.o.speed ? `${best.o.name} · ${best.o.speed} km/h` : best.o.name);
  $("tip").style.left = `${best.x}px`;
  $("tip").style.top = `${best.y}px`;
}

$("map").onpointermove = e => { mouse = [e.clientX, e.clientY]; };
$("map").onpointerleave = () => { mouse = undefined; };
$("projection").onchange = project;
$("in").onclick = () => view.zoom(1.6);
$("out").onclick = () => view.zoom(1 / 1.6);
$("home").onclick = () => view.home();

follow(h.subscribe("stats"), measure).catch(failed);
frame();
