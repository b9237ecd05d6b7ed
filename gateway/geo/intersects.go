package geo

// meets reports whether a feature has a point in common with the box.
func (b box) meets(d *document, f *feature) bool {
	g := &f.bounds
	if !(g.right >= b.Left && g.left <= b.Right && g.top >= b.Bottom && g.bottom <= b.Top) {
		return false
	}
	from, area := f.positions.from, false
	for _, p := range d.parts[f.parts.from:f.parts.to] {
		run := d.points[2*from : 2*p.end]
		from = p.end
		if p.kind != ring || p.first {
			if area { // the polygon before is complete
				return true
			}
		}
		switch {
		case len(run) == 0:
		case p.kind == scattered:
			if b.anyOf(run) {
				return true
			}
		case b.crossed(run, p.kind == ring):
			return true
		case p.kind == ring && b.within(run):
			area = !area
		}
	}
	return area
}

// anyOf reports whether any of the points is in the box.
func (b box) anyOf(points []float64) bool {
	for i := 0; i+1 < len(points); i += 2 {
		if b.touches(points[i], points[i+1], points[i], points[i+1]) {
			return true
		}
	}
	return false
}

// crossed reports whether any segment of a line is in the box in part. A ring
// that isn't closed is taken as if it were.
func (b box) crossed(line []float64, closed bool) bool {
	x, y := line[0], line[1]
	if closed {
		x, y = line[len(line)-2], line[len(line)-1]
	}
	for i := 0; i+1 < len(line); i += 2 {
		if b.touches(x, y, line[i], line[i+1]) {
			return true
		}
		x, y = line[i], line[i+1]
	}
	return false
}

// touches reports whether a segment is in the box in part: it is clipped as Liang
// and Barsky do (ACM Transactions on Graphics 3, 1984).
func (b box) touches(x0, y0, x1, y1 float64) bool {
	if max(x0, x1) < b.Left || min(x0, x1) > b.Right || max(y0, y1) < b.Bottom || min(y0, y1) > b.Top {
		return false
	}
	from, to := 0.0, 1.0
	clip := func(at, step, low, high float64) {
		switch {
		case step > 0:
			from, to = max(from, (low-at)/step), min(to, (high-at)/step)
		case step < 0:
			from, to = max(from, (high-at)/step), min(to, (low-at)/step)
		}
	}
	clip(x0, x1-x0, b.Left, b.Right)
	clip(y0, y1-y0, b.Bottom, b.Top)
	return from <= to
}

// within reports whether a ring that doesn't cross the box lies around it: so it
// does if a ray from a corner to the east crosses the ring an odd number of times.
func (b box) within(ring []float64) (in bool) {
	x, y := b.Left, b.Bottom
	px, py := ring[len(ring)-2], ring[len(ring)-1]
	for i := 0; i+1 < len(ring); i += 2 {
		qx, qy := ring[i], ring[i+1]
		if (py > y) != (qy > y) && x < px+(y-py)/(qy-py)*(qx-px) {
			in = !in
		}
		px, py = qx, qy
	}
	return in
}
