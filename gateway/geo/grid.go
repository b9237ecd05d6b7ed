package geo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
)

// maxGrid is the maximum size of a grid's file in bytes. That of Great Britain has 15 MB.
const maxGrid = 256 << 20

// Grid takes the datum shift of built-in projections from a grid of the national survey, in
// the format NTv2, in place of the built-in parameters, which are up to 2 m off:
//
//	err := geo.Grid(os.DirFS("/usr/share/proj"), "BETA2007.gsb", 31466, 31467, 31468, 31469)
//
// Outside of the grid the built-in parameters still apply. ETRS89, to which most grids lead,
// counts as WGS 84. Call Grid before the codes are looked up: connections keep the Projector
// that they have.
func Grid(fsys fs.FS, name string, codes ...EPSG) error {
	err := useGrid(fsys, name, codes)
	if err != nil {
		return fmt.Errorf("geo: Grid: %s: %w", name, err)
	}
	return nil
}

func useGrid(fsys fs.FS, name string, codes []EPSG) error {
	if len(codes) == 0 {
		return errors.New("no codes")
	}
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxGrid+1))
	switch {
	case err != nil:
		return err
	case len(data) > maxGrid:
		return fmt.Errorf("more than %d bytes", maxGrid)
	}
	table, err := parseNTv2(data)
	if err != nil {
		return err
	}
	entries := make([]entry, len(codes))
	for i, code := range codes {
		p, northFirst := define(code)
		g, ok := p.(*grid)
		if !ok || g.datum == nil {
			return fmt.Errorf("%v is not built in, or has no datum shift", code)
		}
		if math.Abs(g.datum.el.a-table.axis) > 1 {
			return fmt.Errorf("%v is on another ellipsoid: its major axis is %.3f m, that of the grid %.3f m", code, g.datum.el.a, table.axis)
		}
		onGrid, onDatum := *g, *g.datum
		onDatum.table, onGrid.datum = table, &onDatum
		entries[i] = entry{&onGrid, northFirst}
	}
	projectors.Lock()
	defer projectors.Unlock()
	for i, code := range codes {
		projectors.of[code] = entries[i]
	}
	return nil
}

// ntv2 is a grid of datum shifts: to be added to degrees of its datum, for degrees of WGS 84.
type ntv2 struct {
	axis     float64 // major axis of the datum's ellipsoid, metres
	subgrids []subgrid
}

// subgrid is a rectangle of a grid. Its nodes go from south to north, and in each row from east
// to west.
type subgrid struct {
	south, north, east, west float64 // degrees, east of Greenwich
	stepLat, stepLon         float64 // degrees
	rows, columns            int
	nodes                    [][2]float32 // degrees of longitude and latitude
}

// shift returns the shift at a place of the datum. Of the parts that contain it, the
// finest one counts.
func (t *ntv2) shift(lon, lat float64) (dLon, dLat float64, ok bool) {
	var in *subgrid
	for i := range t.subgrids {
		p := &t.subgrids[i]
		if lon >= p.west && lon <= p.east && lat >= p.south && lat <= p.north && (in == nil || p.stepLat < in.stepLat) {
			in = p
		}
	}
	if in == nil {
		return 0, 0, false
	}
	dLon, dLat = in.interpolate(lon, lat)
	return dLon, dLat, true
}

// interpolate is bilinear between the four nodes around a place.
func (p *subgrid) interpolate(lon, lat float64) (dLon, dLat float64) {
	x, y := (p.east-lon)/p.stepLon, (lat-p.south)/p.stepLat
	column, row := min(int(x), p.columns-2), min(int(y), p.rows-2)
	fx, fy := x-float64(column), y-float64(row)
	at := func(row, column int, weight float64) {
		n := p.nodes[row*p.columns+column]
		dLon, dLat = dLon+weight*float64(n[0]), dLat+weight*float64(n[1])
	}
	at(row, column, (1-fx)*(1-fy))
	at(row, column+1, fx*(1-fy))
	at(row+1, column, (1-fx)*fy)
	at(row+1, column+1, fx*fy)
	return dLon, dLat
}

// leave returns the degrees of WGS 84 of a place of the datum.
func (t *ntv2) leave(lon, lat float64) (toLon, toLat float64, ok bool) {
	dLon, dLat, ok := t.shift(lon, lat)
	return lon + dLon, lat + dLat, ok
}

// enter is the inverse of leave, by iteration: a shift changes by far less than a metre
// from one node to the next.
func (t *ntv2) enter(lon, lat float64) (toLon, toLat float64, ok bool) {
	toLon, toLat = lon, lat
	for range 10 {
		dLon, dLat, ok := t.shift(toLon, toLat)
		if !ok {
			return lon, lat, false
		}
		change := max(math.Abs(lon-dLon-toLon), math.Abs(lat-dLat-toLat))
		toLon, toLat = lon-dLon, lat-dLat
		if change < 1e-13 {
			break
		}
	}
	return toLon, toLat, true
}

// Records of the format have 16 bytes: for a header a name and a value of eight each, for a
// node four float32.
const record = 16

var errNotNTv2 = errors.New("not a grid in the format NTv2")

// parseNTv2 reads a grid.
func parseNTv2(data []byte) (*ntv2, error) {
	r := recordReader{data: data, order: binary.LittleEndian}
	if len(data) < 11*record || string(data[:8]) != "NUM_OREC" {
		return nil, errNotNTv2
	}
	if r.order.Uint32(data[8:]) != 11 {
		r.order = binary.BigEndian
	}
	if r.int("NUM_OREC") != 11 || r.int("NUM_SREC") != 11 {
		return nil, errNotNTv2
	}
	parts := r.int("NUM_FILE")
	units := map[string]float64{"SECONDS": 3600, "MINUTES": 60, "DEGREES": 1}
	perDegree := units[r.text("GS_TYPE")]
	r.skip(3) // VERSION, SYSTEM_F, SYSTEM_T
	t := &ntv2{axis: r.float("MAJOR_F")}
	r.skip(3) // MINOR_F, MAJOR_T, MINOR_T
	if perDegree == 0 || parts < 1 || parts > len(data)/(11*record) {
		return nil, errNotNTv2
	}
	for range parts {
		p, err := r.subgrid(perDegree)
		if err != nil {
			return nil, err
		}
		t.subgrids = append(t.subgrids, p)
	}
	return t, nil
}

// recordReader reads records. What isn't there is zero, which no grid may have.
type recordReader struct {
	data  []byte
	order binary.ByteOrder
}

// next returns the value of the next record, which must have a name.
func (r *recordReader) next(name string) []byte {
	if len(r.data) < record || strings.TrimRight(string(r.data[:8]), " \x00") != name {
		return make([]byte, 8)
	}
	value := r.data[8:record]
	r.data = r.data[record:]
	return value
}

func (r *recordReader) int(name string) int { return int(int32(r.order.Uint32(r.next(name)))) }

func (r *recordReader) float(name string) float64 {
	return math.Float64frombits(r.order.Uint64(r.next(name)))
}

func (r *recordReader) text(name string) string {
	return strings.TrimRight(string(r.next(name)), " \x00")
}

func (r *recordReader) skip(n int) { r.data = r.data[min(n*record, len(r.data)):] }

// subgrid reads a subgrid: longitudes are positive to the west in the file.
func (r *recordReader) subgrid(perDegree float64) (p subgrid, err error) {
	r.skip(4) // SUB_NAME, PARENT, CREATED, UPDATED
	p.south, p.north = r.float("S_LAT")/perDegree, r.float("N_LAT")/perDegree
	p.east, p.west = -r.float("E_LONG")/perDegree, -r.float("W_LONG")/perDegree
	p.stepLat, p.stepLon = r.float("LAT_INC")/perDegree, r.float("LONG_INC")/perDegree
	nodes := r.int("GS_COUNT")
	rows, columns := math.Round((p.north-p.south)/p.stepLat)+1, math.Round((p.east-p.west)/p.stepLon)+1
	switch {
	case !(p.south < p.north && p.west < p.east && p.stepLat > 0 && p.stepLon > 0),
		!(math.Abs(p.south) <= 90 && math.Abs(p.north) <= 90 && math.Abs(p.west) <= 360 && math.Abs(p.east) <= 360),
		!(rows >= 2 && columns >= 2), rows*columns != float64(nodes), nodes > len(r.data)/record:
		return p, errNotNTv2
	}
	p.rows, p.columns = int(rows), int(columns)
	p.nodes = make([][2]float32, nodes)
	for i := range p.nodes {
		lat := math.Float32frombits(r.order.Uint32(r.data))
		lon := math.Float32frombits(r.order.Uint32(r.data[4:]))
		p.nodes[i] = [2]float32{-lon / float32(perDegree), lat / float32(perDegree)}
		r.data = r.data[record:]
	}
	return p, nil
}
