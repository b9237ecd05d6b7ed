// What the map looks like.

// Painter draws on a canvas. What does not move is drawn once, on a canvas of its
// own, until change is called.
export class Painter {
  #base = document.createElement("canvas");
  #changed = true;

  constructor(canvas) {
    this.canvas = canvas;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.change());
  }

  change() { this.#changed = true; }

  // Paint draws the objects as they are now, on the ground.
  paint(view, ground, objects, now) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(view.width * ratio), height = Math.round(view.height * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = this.#base.width = width;
      this.canvas.height = this.#base.height = height;
      this.#changed = true;
    }
    const css = getComputedStyle(document.documentElement);
    const colour = name => css.getPropertyValue("--" + name);
    if (this.#changed) {
      const c = this.#base.getContext("2d");
      c.setTransform(ratio, 0, 0, ratio, 0, 0);
      drawGround(c, view, ground, colour);
      this.#changed = false;
    }
    const c = this.canvas.getContext("2d");
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.drawImage(this.#base, 0, 0);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawObjects(c, view, objects, now, colour);
    drawTowns(c, view, ground, colour);
  }
}

// Position is where an object is drawn: on the way from where it was when the last
// message came to where that says it is, which takes it until the next.
export function position(o, now) {
  const part = Math.min((now - o.time) / o.every, 1);
  return [o.from[0] + part * (o.to[0] - o.from[0]), o.from[1] + part * (o.to[1] - o.from[1])];
}

function drawGround(c, view, ground, colour) {
  const kinds = Map.groupBy(ground.values(), f => f.properties.kind);
  const all = kind => kinds.get(kind) ?? [];
  const line = points => {
    points.forEach((p, i) => (i ? c.lineTo(...view.toScreen(p)) : c.moveTo(...view.toScreen(p))));
  };
  const stroke = (features, name, width) => {
    c.beginPath();
    for (const f of features) line(f.geometry.coordinates);
    c.strokeStyle = colour(name);
    c.lineWidth = width;
    c.stroke();
  };
  const fill = (features, inner, edge, width, glow) => {
    c.beginPath();
    for (const f of features) f.geometry.coordinates.forEach(ring => curve(c, ring.map(p => view.toScreen(p))));
    c.strokeStyle = colour(edge);
    c.globalAlpha = 0.16;
    c.lineWidth = glow;
    c.stroke();
    c.globalAlpha = 1;
    c.fillStyle = colour(inner);
    c.fill();
    c.lineWidth = width;
    c.stroke();
  };
  c.lineJoin = c.lineCap = "round";
  c.fillStyle = colour("sea");
  c.fillRect(0, 0, view.width, view.height);
  fill(all("border"), "land", "border", 1.2, 11);
  stroke([...all("meridian"), ...all("parallel")], "graticule", 1);
  fill(all("lake"), "lake", "shore", 0.8, 3);
  stroke(all("railway"), "railway", 1.6);
  c.font = "10.5px system-ui, sans-serif";
  c.fillStyle = colour("faint");
  for (const f of [...all("meridian"), ...all("parallel")]) label(c, view, f);
}

// Curve goes along a ring and rounds its corners.
function curve(c, ring) {
  const near = (a, b) => [a[0] + 0.22 * (b[0] - a[0]), a[1] + 0.22 * (b[1] - a[1])]; // a, on the way to b
  c.moveTo(...near(ring[0], ring[1]));
  for (let i = 1; i < ring.length; i++) { // the last is the first
    const corner = ring[i];
    c.lineTo(...near(corner, ring[i - 1]));
    c.quadraticCurveTo(...corner, ...near(corner, ring[i + 1] ?? ring[1]));
  }
  c.closePath();
}

// Label writes the name of a line of the graticule where it leaves the view: a
// meridian at the top, a parallel on the right.
function label(c, view, f) {
  const [axis, edge] = f.properties.kind === "meridian" ? [1, 12] : [0, view.width - 34];
  let last;
  for (const p of f.geometry.coordinates.map(p => view.toScreen(p))) {
    if (last && last[axis] < edge !== p[axis] < edge) {
      const part = (edge - last[axis]) / (p[axis] - last[axis]);
      c.fillText(f.properties.name, last[0] + part * (p[0] - last[0]) + 3, last[1] + part * (p[1] - last[1]) - 3);
    }
    last = p;
  }
}

// The larger towns come first; a name that would lie on another is left out.
function drawTowns(c, view, ground, colour) {
  const towns = [...ground.values()].filter(f => f.properties.kind === "town");
  const taken = [];
  c.font = "12px system-ui, sans-serif";
  c.textBaseline = "middle";
  for (const f of towns.sort((a, b) => a.properties.rank - b.properties.rank)) {
    const [x, y] = view.toScreen(f.geometry.coordinates);
    const width = c.measureText(f.properties.name).width + 14;
    const crosses = t => x < t.x + t.width + 24 && t.x < x + width + 24 && Math.abs(y - t.y) < 26;
    if (taken.some(crosses)) continue;
    taken.push({ x, y, width });
    c.beginPath();
    c.arc(x, y, 2.6, 0, 2 * Math.PI);
    c.fillStyle = colour("halo");
    c.fill();
    c.strokeStyle = colour("ink");
    c.lineWidth = 1.2;
    c.stroke();
    c.strokeStyle = colour("halo");
    c.lineWidth = 3;
    c.strokeText(f.properties.name, x + 7, y);
    c.fillStyle = colour("ink");
    c.fillText(f.properties.name, x + 7, y);
  }
  c.textBaseline = "alphabetic";
}

// Shapes of what moves, heading right.
const shapes = {
  train: new Path2D("M-5-2.1H3Q5.5-2.1 5.5 0T3 2.1H-5Z"),
  boat: new Path2D("M-5-2.6H1.5Q4.5-2 6.5 0Q4.5 2 1.5 2.6H-5Z"),
  plane: new Path2D("M8 0Q7-1.1 5-1.1H2L-2.5-7H-4L-1.8-1.1H-5L-6.6-3H-7.6L-6.8 0L-7.6 3H-6.6L-5 1.1H-1.8L-4 7H-2.5L2 1.1H5Q7 1.1 8 0Z"),
};

function drawObjects(c, view, objects, now, colour) {
  const size = view.magnification ** 0.25 * 0.9;
  for (const kind of Object.keys(shapes)) {
    const some = [...objects.values()].filter(o => o.kind === kind);
    c.strokeStyle = colour(kind);
    c.lineWidth = 1.4;
    c.globalAlpha = 0.35;
    c.beginPath();
    for (const o of some) {
      if (o.trail.length === 0) continue;
      c.moveTo(...view.toScreen(o.trail[0]));
      for (const p of o.trail.slice(1)) c.lineTo(...view.toScreen(p));
      c.lineTo(...view.toScreen(position(o, now)));
    }
    c.stroke();
    c.globalAlpha = 1;
    c.fillStyle = colour(kind);
    c.strokeStyle = colour("halo");
    for (const o of some) {
      c.save();
      c.translate(...view.toScreen(position(o, now)));
      c.rotate(o.angle);
      c.scale(size, size);
      c.stroke(shapes[kind]);
      c.fill(shapes[kind]);
      c.restore();
    }
  }
}
