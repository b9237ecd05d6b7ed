package gateway

import (
	"maps"
	"slices"
)

// following are the channels that a connection follows. Most follow a few, which a list has
// in a quarter of the memory of a map.
type following struct {
	few  []*follower
	many map[string]*follower // in place of the list; nil: there are few
}

const maxFew = 8

func (f *following) len() int { return len(f.few) + len(f.many) }

// get returns the follower of a channel; nil: there is none.
func (f *following) get(channel string) *follower {
	for _, one := range f.few {
		if one.ch.name == channel {
			return one
		}
	}
	return f.many[channel]
}

// add adds the follower of a channel that has none.
func (f *following) add(one *follower) {
	switch {
	case f.many != nil:
		f.many[one.ch.name] = one
	case len(f.few) < maxFew:
		f.few = append(f.few, one)
	default:
		f.many = make(map[string]*follower)
		for _, each := range append(f.few, one) {
			f.many[each.ch.name] = each
		}
		f.few = nil
	}
}

// remove removes a follower, and reports whether it was there.
func (f *following) remove(one *follower) bool {
	if f.get(one.ch.name) != one {
		return false
	}
	delete(f.many, one.ch.name)
	f.few = slices.DeleteFunc(f.few, func(each *follower) bool { return each == one })
	return true
}

// names returns the channels, sorted.
func (f *following) names() []string {
	names := slices.Collect(maps.Keys(f.many))
	for _, each := range f.few {
		names = append(names, each.ch.name)
	}
	slices.Sort(names)
	return names
}
