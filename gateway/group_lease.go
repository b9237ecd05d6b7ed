package gateway

import (
	"context"
	"errors"
	"slices"
	"time"
)

// What is kept of a group x: in the set x the processes that have members, and in
// the set x:process the members of that one. Both have the lease for a time to
// live, so that Redis itself forgets a process that is gone, and no clock is
// compared with another.

// begin takes the turn: what a process writes to the object, it writes in the order
// in which it happened here.
func (g *Groups) begin(ctx context.Context) error {
	select {
	case <-g.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	if g.closed {
		g.end()
		return ErrClosed
	}
	return nil
}

func (g *Groups) end() { g.turn <- struct{}{} }

// note notes members of a group. Who sees the process in the first set also finds
// them in the second.
func (g *Groups) note(ctx context.Context, key string, members ...string) error {
	if _, err := g.object.Add(ctx, key+":"+g.id, members...); err != nil {
		return err
	}
	_, err := g.object.Add(ctx, key, g.id)
	return err
}

// strike takes a member out. Where that fails, the next renewal does it, or if the
// group has no more members here, the end of the lease.
func (g *Groups) strike(ctx context.Context, from group, c *Conn) {
	if _, err := g.object.Remove(ctx, from.key+":"+g.id, c.name()); err != nil {
		c.h.warn("gateway: a group was not left yet", "error", err)
	}
}

// renewAlways begins to renew the lease.
func (g *Groups) renewAlways() {
	if g.stop != nil || g.pool == nil && g.cfg.Object == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.running.Go(func() {
		ticker := time.NewTicker(g.cfg.Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				g.renew(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
}

// renew renews the leases of all groups here, and gives up at the first that fails:
// the next time is soon.
func (g *Groups) renew(ctx context.Context) {
	err := g.listenAgain(ctx)
	for _, key := range g.keys() {
		if err == nil {
			err = g.renewOne(ctx, key)
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
		return // by Close
	}
	if failing := err != nil; failing != g.failing {
		g.failing = failing
		if failing {
			g.log.Warn("gateway: groups not renewed, trying again", "error", err)
		} else {
			g.log.Info("gateway: groups renewed again")
		}
	}
}

// listenAgain listens, should Redis have ended that.
func (g *Groups) listenAgain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Lease/3)
	defer cancel()
	if err := g.begin(ctx); err != nil {
		return err
	}
	defer g.end()
	return g.listen(ctx)
}

// renewOne has the object know what is true of a group here.
func (g *Groups) renewOne(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Lease/3)
	defer cancel()
	if err := g.begin(ctx); err != nil {
		return err
	}
	defer g.end()
	members := g.names(key)
	noted, err := g.object.Get(ctx, key+":"+g.id)
	if err != nil {
		return err
	}
	gone := slices.DeleteFunc(noted, func(name string) bool {
		_, there := slices.BinarySearch(members, name)
		return there
	})
	if len(gone) > 0 {
		if _, err := g.object.Remove(ctx, key+":"+g.id, gone...); err != nil {
			return err
		}
	}
	if len(members) == 0 {
		return nil
	}
	return g.note(ctx, key, members...)
}

// names returns the names of the members of a group in this process, sorted.
func (g *Groups) names(key string) []string {
	var names []string
	for _, c := range g.here(key) {
		names = append(names, c.name())
	}
	slices.Sort(names)
	return names
}

// keys returns the groups that have members here.
func (g *Groups) keys() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	keys := make([]string, 0, len(g.groups))
	for key := range g.groups {
		keys = append(keys, key)
	}
	return keys
}

// Close takes all members of this process out of their groups: at once, or with an
// error when their lease ends. The pool does it too, when it is closed.
func (g *Groups) Close() error {
	<-g.turn
	if g.closed {
		g.end()
		return nil
	}
	g.closed = true
	if g.stop != nil {
		g.stop()
	}
	listener := g.listener
	g.end()
	g.running.Wait()
	if listener != nil {
		_ = listener.Close()
	}
	if g.own {
		_ = g.client.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.cfg.Lease)
	defer cancel()
	var err error
	for _, key := range g.keys() {
		if _, err = g.object.Remove(ctx, key+":"+g.id, g.names(key)...); err == nil {
			_, err = g.object.Remove(ctx, key, g.id)
		}
		if err != nil {
			break
		}
	}
	g.mu.Lock()
	clear(g.groups)
	clear(g.in)
	g.mu.Unlock()
	g.disown()
	return err
}
