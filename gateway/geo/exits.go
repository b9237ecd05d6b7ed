package geo

import (
	"cmp"
	"hash/maphash"
)

// exits remembers which features one client has been sent, so that those that leave
// its box can be announced. The zero value is ready to use, by one goroutine at a
// time.
type exits struct {
	// Limit is the maximum number of features remembered. Defaults to 10,000; the
	// minimum is 2. The last Limit/2 that were sent are always remembered. A forgotten
	// feature leaves unannounced, and is counted.
	Limit int

	// Two generations: when young has half of Limit, old is forgotten and young becomes
	// old. A feature is a 64-bit hash of its id and its channel, with a secret seed: ids
	// of any length take the same memory.
	young, old map[uint64]struct{}
	forgotten  uint64
}

// Passes is [box.Passes] for a message of a channel or hash, from, whose features it
// remembers. Ids of different channels are different. For a message that does not pass,
// gone is what to send instead, if the client has been sent features in it: for a Feature
//
//	{"type":"Feature","id":7,"geometry":null}
//
// and for a FeatureCollection one with such a Feature for each. Each exit is announced
// once. Features without an id are not remembered.
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

// fromSeed is not the seed of ids: a channel may have the name of an id.
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

// Remembered returns how many features are remembered now, and how many have been
// forgotten because of Limit.
func (e *exits) Remembered() (now int, forgotten uint64) {
	return len(e.young) + len(e.old), e.forgotten
}
