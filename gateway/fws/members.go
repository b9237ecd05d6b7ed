package fws

import (
	"context"
	"slices"
	"strconv"

	"github.com/heliograph/heliograph/gateway"
)

// turnOf is the turn of a connection among its values: its memberships change in Redis in
// the order in which they change here. Those of different connections don't wait for one
// another: each membership has an id of its own.
type turnOf struct{ of *Groups }

// beginConn takes the turn of a connection, until end is called.
func (g *Groups) beginConn(ctx context.Context, c *gateway.Conn) (end func(), err error) {
	g.mu.Lock()
	turn, ok := c.Value(turnOf{g}).(chan struct{})
	if !ok {
		turn = make(chan struct{}, 1)
		c.SetValue(turnOf{g}, turn)
	}
	g.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ended marks a connection whose Disconnect hook has run: it can't join any more.
type ended struct{ of *Groups }

// rememberLocked puts a connection into a group. The lock is held.
func (g *Groups) rememberLocked(c *gateway.Conn, group string) (member, error) {
	if c.Value(ended{g}) != nil || g.ctx.Err() != nil {
		return member{}, gateway.ErrClosed
	}
	if n := len(g.members[c]); n >= g.cfg.PerConn {
		return member{}, gateway.Errorf(gateway.CodeTooMany, "the client is in %d groups; no more are allowed", n)
	}
	if g.groups[group] == nil {
		if len(g.groups) >= g.cfg.MaxGroups {
			return member{}, gateway.Errorf(gateway.CodeTooMany, "there are %d groups; no more are taken", g.cfg.MaxGroups)
		}
		g.groups[group] = make(map[*gateway.Conn]struct{})
	}
	g.joined++
	m := member{g.id + "." + strconv.FormatUint(g.joined, 36), group}
	g.groups[group][c] = struct{}{}
	g.members[c] = append(g.members[c], m)
	return m, nil
}

// indexLocked returns the place of a group among those of a connection, or -1. The lock is
// held.
func (g *Groups) indexLocked(c *gateway.Conn, group string) int {
	return slices.IndexFunc(g.members[c], func(m member) bool { return m.group == group })
}

// forgetLocked takes a connection out of groups, or of all if none is given. The lock is
// held.
func (g *Groups) forgetLocked(c *gateway.Conn, groups ...string) (from []member) {
	var stays []member
	for _, m := range g.members[c] {
		if len(groups) > 0 && !slices.Contains(groups, m.group) {
			stays = append(stays, m)
			continue
		}
		from = append(from, m)
		delete(g.groups[m.group], c)
		if len(g.groups[m.group]) == 0 {
			delete(g.groups, m.group)
		}
	}
	if g.members[c] = stays; len(stays) == 0 {
		delete(g.members, c)
	}
	return from
}

// withdraw takes members out of Redis. Where that fails, the next renewal of the lease does
// it.
func (g *Groups) withdraw(ctx context.Context, members []member) {
	if g.cfg.Local || len(members) == 0 {
		return
	}
	listed := make([]string, len(members))
	for i, m := range members {
		listed[i] = m.presence()
	}
	if _, err := g.present.Remove(ctx, listed...); err != nil {
		g.warned.Warn(g.log, "fws: a member is still listed in its group; the next renewal of the lease removes it", "group", members[0].group, "error", err)
	}
}

// here returns the members of a group in this process, without the one whose id is
// except.
func (g *Groups) here(group, except string) []*gateway.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	conns := make([]*gateway.Conn, 0, len(g.groups[group]))
	for c := range g.groups[group] {
		if except == "" || g.members[c][g.indexLocked(c, group)].id != except {
			conns = append(conns, c)
		}
	}
	return conns
}
