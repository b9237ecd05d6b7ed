// The part of the map that is on the canvas, and the hands that move it. All that is
// known of a projection is that x goes right and y goes up.

export class View {
  x = 0; // what is in the middle of the canvas, in units of the map
  y = 0;
  scale = 1; // units in a pixel
  extent = null; // of the country, as left, bottom, right, top

  // Moved is called when something else is to be seen.
  constructor(canvas, moved) {
    this.canvas = canvas;
    this.moved = moved;
    new ResizeObserver(() => this.moved()).observe(canvas);
    this.listen();
  }

  get width() { return this.canvas.clientWidth; }
  get height() { return this.canvas.clientHeight; }

  // How much larger everything is than where all of the country is seen.
  get magnification() { return this.extent ? this.#whole(0) / this.scale : 1; }

  toScreen([x, y]) {
    return [this.width / 2 + (x - this.x) / this.scale, this.height / 2 - (y - this.y) / this.scale];
  }

  toMap([px, py]) {
    return [this.x + (px - this.width / 2) * this.scale, this.y - (py - this.height / 2) * this.scale];
  }

  // Box returns left, bottom, right and top of what is seen, and a margin in pixels.
  box(margin) {
    return [...this.toMap([-margin, this.height + margin]), ...this.toMap([this.width + margin, -margin])];
  }

  // Change goes on in another projection, with the same part of the country.
  change(extent) {
    const old = this.extent;
    this.extent = extent;
    if (!old) return this.home();
    const [left, bottom, right, top] = extent;
    this.x = left + (this.x - old[0]) / (old[2] - old[0]) * (right - left);
    this.y = bottom + (this.y - old[1]) / (old[3] - old[1]) * (top - bottom);
    this.scale *= (right - left) / (old[2] - old[0]);
    this.moved();
  }

  // Home shows all of the country, beside the panel if there is room.
  home() {
    if (!this.extent) return;
    const [left, bottom, right, top] = this.extent;
    const panel = this.width > 720 ? 240 : 0;
    this.scale = this.#whole(panel);
    this.x = (left + right - panel * this.scale) / 2;
    this.y = (bottom + top) / 2;
    this.moved();
  }

  // #whole is the scale at which all of the country is seen.
  #whole(panel) {
    const [left, bottom, right, top] = this.extent;
    return 1.06 * Math.max((right - left) / Math.max(this.width - panel, 1), (top - bottom) / Math.max(this.height, 1));
  }

  // Zoom makes everything larger by a factor, but for the place at a pixel.
  zoom(factor, at = [this.width / 2, this.height / 2]) {
    if (!this.extent) return;
    const [x, y] = this.toMap(at), whole = this.#whole(0);
    this.scale = Math.min(Math.max(this.scale / factor, whole / 200), whole * 2.5);
    const [x2, y2] = this.toMap(at);
    this.x += x - x2;
    this.y += y - y2;
    this.moved();
  }

  pan(dx, dy) {
    this.x -= dx * this.scale;
    this.y += dy * this.scale;
    this.moved();
  }

  listen() {
    const pointers = new Map(); // that are down: two make a pinch
    this.canvas.addEventListener("pointerdown", e => {
      if (e.button !== 0) return;
      pointers.set(e.pointerId, [e.clientX, e.clientY]);
      this.canvas.classList.add("dragged");
    });
    window.addEventListener("pointermove", e => {
      const from = pointers.get(e.pointerId);
      if (!from) return;
      const to = [e.clientX, e.clientY];
      const other = [...pointers.entries()].find(([id]) => id !== e.pointerId)?.[1];
      pointers.set(e.pointerId, to);
      if (!other) return this.pan(to[0] - from[0], to[1] - from[1]);
      const apart = p => Math.hypot(p[0] - other[0], p[1] - other[1]) + 1;
      this.pan((to[0] - from[0]) / 2, (to[1] - from[1]) / 2);
      this.zoom(apart(to) / apart(from), [(to[0] + other[0]) / 2, (to[1] + other[1]) / 2]);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      window.addEventListener(end, e => {
        pointers.delete(e.pointerId);
        this.canvas.classList.toggle("dragged", pointers.size > 0);
      });
    }
    this.canvas.addEventListener("wheel", e => {
      e.preventDefault();
      const pixels = e.deltaY * [1, 16, 100][e.deltaMode]; // which may be lines or pages
      this.zoom(Math.exp(-Math.max(-240, Math.min(240, pixels)) / 400), [e.clientX, e.clientY]);
    }, { passive: false });
    this.canvas.addEventListener("keydown", e => {
      const act = {
        ArrowLeft: () => this.pan(60, 0), ArrowRight: () => this.pan(-60, 0),
        ArrowUp: () => this.pan(0, 60), ArrowDown: () => this.pan(0, -60),
        "+": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5), 0: () => this.home(),
      }[e.key];
      if (!act || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault();
      act();
    });
  }
}
