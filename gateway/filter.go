package gateway

import "slices"

// Filter decides for one connection whether a message is sent, and in which form: it
// returns m to send it, m.With(…) to change it, or nil to withhold it. It is called
// for one message at a time, for each channel in order. What is the same for many
// connections belongs into [Message.Memo].
type Filter func(m *Message) *Message

type namedFilter struct {
	name  string
	apply Filter
}

// SetFilter sets, replaces or, with nil, removes a filter of the connection. Filters
// run in the order in which they were first set; a filter that replaces another takes
// its place. Messages of channels and values of hashes go through them; errors and
// statuses don't.
func (c *Conn) SetFilter(name string, f Filter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var filters []namedFilter
	if old := c.filters.Load(); old != nil {
		filters = slices.Clone(*old)
	}
	i := slices.IndexFunc(filters, func(f namedFilter) bool { return f.name == name })
	switch {
	case f == nil && i >= 0:
		filters = slices.Delete(filters, i, i+1)
	case f == nil:
	case i >= 0:
		filters[i].apply = f
	default:
		filters = append(filters, namedFilter{name, f})
	}
	if len(filters) == 0 {
		c.filters.Store(nil)
		return
	}
	c.filters.Store(&filters)
}

// filter takes a message through the filters. Nil: one withheld it.
func (c *Conn) filter(m *Message) *Message {
	filters := c.filters.Load()
	if filters == nil {
		return m
	}
	c.filtering.Lock()
	defer c.filtering.Unlock()
	for _, f := range *filters {
		if !c.guard("filter "+f.name, func() { m = f.apply(m) }) {
			return nil
		}
		if m == nil {
			c.h.count.filtered.Add(1)
			return nil
		}
	}
	return m
}
