package geo

import "github.com/heliograph/heliograph/gateway"

// view is what the filters know of a message, shared among connections.
type view struct {
	doc   *document
	fixed bool // the content is not that of doc, and is not projected any more
}

// viewKey is the key of a message's view, for Message.Memo.
type viewKey struct{}

func (g *Geo) view(m *gateway.Message) *view {
	return m.Memo(viewKey{}, func() any {
		return &view{doc: read(m.Content, g.cfg.IDProperty)}
	}).(*view)
}

// as returns a copy of a message with another content and a view.
func as(m *gateway.Message, content []byte, v *view) *gateway.Message {
	m = m.With(content)
	m.Memo(viewKey{}, func() any { return v })
	return m
}

// projected returns a filter that projects messages by p. Connections with the same
// projection share the result.
func (g *Geo) projected(p Projector) gateway.Filter {
	type of struct{ p Projector }
	var key any = of{p}
	return func(m *gateway.Message) *gateway.Message {
		return m.Memo(key, func() any { return g.project(m, p) }).(*gateway.Message)
	}
}

func (g *Geo) project(m *gateway.Message, p Projector) *gateway.Message {
	v := g.view(m)
	doc, dropped := v.doc.Project(p)
	if v.fixed {
		if doc == nil {
			doc = read(nil, "") // the box decides as for what isn't GeoJSON
		}
		return as(m, m.Content, &view{doc, true})
	}
	g.count.dropped.Add(int64(dropped))
	switch doc {
	case nil:
		return nil
	case v.doc:
		return m
	}
	return as(m, doc.Raw(), &view{doc: doc})
}

// fixed returns a message projected by p, whose content no filter projects again.
// Boxes look at the original, or at what the filters make of that.
func (g *Geo) fixed(m *gateway.Message, p Projector) *gateway.Message {
	v := g.view(m)
	content := m.Content
	if p != nil {
		doc, dropped := v.doc.Project(p)
		g.count.dropped.Add(int64(dropped))
		if doc == nil {
			return nil
		}
		content = doc.Raw()
	}
	return as(m, content, &view{v.doc, true})
}

// boxed returns a filter that withholds messages outside of a box.
func (g *Geo) boxed(b box) gateway.Filter {
	return func(m *gateway.Message) *gateway.Message {
		if b.Passes(g.view(m).doc) {
			return m
		}
		g.count.withheld.Add(1)
		return nil
	}
}

// boxedWithExits returns a filter that also announces features that leave the box.
func (g *Geo) boxedWithExits(b box, e *exits) gateway.Filter {
	return func(m *gateway.Message) *gateway.Message {
		_, before := e.Remembered()
		passes, gone := e.Passes(m.Name, b, g.view(m).doc)
		_, after := e.Remembered()
		g.count.forgotten.Add(int64(after - before))
		switch {
		case passes:
			return m
		case gone != nil:
			g.count.exits.Add(1)
			return m.With(gone)
		}
		g.count.withheld.Add(1)
		return nil
	}
}
