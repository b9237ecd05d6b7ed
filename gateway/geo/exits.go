package geo

import (
	"cmp"
	"hash/maphash"
)

// exits is the memory of one client: which features it has been sent, so that it
// can be told of those that leave its box. Nothing else would take them off its
// map. The zero value is ready; only one goroutine may use it at a time.
type exits struct {
	// Limit is how many features are remembered at most. Zero means 10,000, less
	// than two means two. Of the last Limit/2 that were sent none is forgotten;
	// one that is forgotten leaves unannounced, and is counted.
	Limit int

	// Two generations: when the younger is half of all, the elder is forgotten.
	// A feature is its hash, 64 bits of a secret function of its id and of where it
	// comes from: ids of any length take the same room.
	young, old map[uint64]struct{}
	forgotten  uint64
}

// Passes is [box.Passes] for a message of the channel or hash from, and remembers:
// an id is one of that name's, and another feature in one of another name. Where a
// message does not pass, gone is what to send in its place of the features in it
// that the client knows, if any: of a Feature
//
//	{"type":"Feature","id":7,"geometry":null}
//
// and of a FeatureCollection one with a Feature like this for each. It says that
// they have left the box, and is said once. What has no id neither enters nor
// leaves.
func (e *exits) Passes(from string, b box, d *document) (passes bool, gone []byte) {
	passes = b.Passes(d)
	of := maphash.String(fromSeed, from)
	for i := range d.features {
		f := &d.features[i]
		switch {
		case f.id == nil || f.state == foreign:
		case passes && f.state == located:
			e.enter(of ^ f.hash)
		case e.leave(of^f.hash) && !passes:
			switch {
			case gone != nil:
				gone = append(gone, ',')
			case d.collection:
				gone = append(gone, `{"type":"FeatureCollection","features":[`...)
			}
			gone = append(gone, `{"type":"Feature","id":`...)
			gone = append(gone, f.id...)
			gone = append(gone, `,"geometry":null}`...)
		}
	}
	if gone != nil && d.collection {
		gone = append(gone, `]}`...)
	}
	return passes, gone
}

// fromSeed is not the seed of ids: a channel may be called as what is on it.
var fromSeed = maphash.MakeSeed()

func (e *exits) enter(id uint64) {
	if _, known := e.young[id]; known {
		return
	}
	delete(e.old, id)
	if len(e.young) >= max(cmp.Or(e.Limit, 10000)/2, 1) {
		e.forgotten += uint64(len(e.old))
		e.young, e.old = nil, e.young
	}
	if e.young == nil {
		e.young = make(map[uint64]struct{})
	}
	e.young[id] = struct{}{}
}

// leave forgets a feature, and reports whether it was remembered.
func (e *exits) leave(id uint64) bool {
	_, young := e.young[id]
	_, old := e.old[id]
	delete(e.young, id)
	delete(e.old, id)
	return young || old
}

// Remembered returns how many features are remembered now, and how many have
// been forgotten for want of room.
func (e *exits) Remembered() (now int, forgotten uint64) {
	return len(e.young) + len(e.old), e.forgotten
}
