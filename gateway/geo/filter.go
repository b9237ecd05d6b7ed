package geo

import "github.com/heliograph/heliograph/gateway"

// view is what the filters know of a message, and share among connections.
type view struct {
	doc   *document
	fixed bool // the projection of what is sent is not that of doc, and stays
}

// viewKey is what a message keeps its view by.
type viewKey struct{}

func (g *Geo) view(m *gateway.Message) *view {
	return m.Memo(viewKey{}, func() any {
		return &view{doc: read(m.Content, g.cfg.IDProperty)}
	}).(*view)
}

// as returns a copy of a message of another content, which has a view.
func as(m *gateway.Message, content []byte, v *view) *gateway.Message {
	m = m.With(content)
	m.Memo(viewKey{}, func() any { return v })
	return m
}

// projected returns a filter that sends what p makes of messages. Whoever else is
// sent the same shares the work.
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
			doc = read(nil, "") // it is on no map that a box could be on
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

// fixed returns a message as p has it, which no filter projects any more. Those
// that look at it see the original, or what they make of that.
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

// boxed returns a filter that sends what a box lets pass.
func (g *Geo) boxed(b box) gateway.Filter {
	return func(m *gateway.Message) *gateway.Message {
		if b.Passes(g.view(m).doc) {
			return m
		}
		g.count.withheld.Add(1)
		return nil
	}
}

// boxedWithExits returns a filter that also tells what has left.
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
