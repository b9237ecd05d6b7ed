package storage

import (
	"context"
	"fmt"
	"slices"
)

// presenceChange is a call of Add or Remove. All calls that wait go to Redis together, by
// the caller that gets the turn: a thousand clients that come at once cost a few round
// trips, and not a thousand one after the other.
type presenceChange struct {
	add   bool
	elems []string      // once counted, only those that change something
	done  chan struct{} // closed with n and err

	// Guarded by Presence.mu.
	counted bool
	gaveUp  bool // the caller does not wait any more
	n       int
	err     error
}

// change adds or removes members, and returns the number of those that this changes.
func (p *Presence[T]) change(ctx context.Context, add bool, members []T) (int, error) {
	elems, err := p.encode(members)
	if err != nil {
		return 0, err
	}
	c := &presenceChange{add: add, elems: elems, done: make(chan struct{})}
	p.mu.Lock()
	p.waiting = append(p.waiting, c)
	p.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil && p.giveUp(c) {
			return 0, err
		}
		select {
		case <-c.done:
			return c.n, c.err
		case <-p.turn:
			p.changeWaiting(ctx, c)
			p.end()
		case <-ctx.Done():
		}
	}
}

// giveUp ends waiting for a change, unless it is done: its members are not held.
func (p *Presence[T]) giveUp(c *presenceChange) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isDone(c) {
		return false
	}
	c.gaveUp = true // one that is under way is undone by changeWaiting
	if i := slices.Index(p.waiting, c); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		if !c.add {
			p.forgetLocked(c.elems)
		}
	}
	return true
}

func isDone(c *presenceChange) bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// changeWaiting makes the changes that wait. The turn is held, by the caller of the change
// mine. If that has no time left, the others wait for another.
func (p *Presence[T]) changeWaiting(ctx context.Context, mine *presenceChange) {
	if isDone(mine) {
		return
	}
	p.mu.Lock()
	batch, changes, grows := p.nextLocked()
	p.mu.Unlock()
	if grows {
		p.renewAlways()
	}
	var err error
	if len(changes) > 0 {
		err = p.write(ctx, changes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var again []*presenceChange
	for _, c := range batch {
		switch {
		case err != nil && ctx.Err() != nil && c != mine && !c.gaveUp:
			again = append(again, c)
			continue
		case err != nil:
			c.n, c.err = 0, err
		case c.add && c.gaveUp:
			p.forgetLocked(c.elems)
		}
		close(c.done)
	}
	p.waiting = append(again, p.waiting...)
}

// nextLocked takes from those that wait the changes up to one of a member that they
// change already. It returns them, which members they change to whether they are held, and
// whether one adds members. Those that can't be made are done. The lock is held.
func (p *Presence[T]) nextLocked() (batch []*presenceChange, changes map[string]bool, grows bool) {
	changes = make(map[string]bool)
	size := len(p.held)
	for len(p.waiting) > 0 {
		c := p.waiting[0]
		if slices.ContainsFunc(c.elems, func(e string) bool { _, changed := changes[e]; return changed }) {
			break
		}
		p.waiting = p.waiting[1:]
		if p.closed {
			c.err = ErrClosed
			close(c.done)
			continue
		}
		held := func(e string) bool { _, held := p.held[e]; return held }
		if !c.counted {
			c.elems = slices.DeleteFunc(c.elems, func(e string) bool { return held(e) == c.add })
			c.counted, c.n = true, len(c.elems)
		}
		if c.add && size+len(c.elems) > p.opts.MaxMembers {
			c.n, c.err = 0, fmt.Errorf("%w: PresenceOptions.MaxMembers is %d", ErrFull, p.opts.MaxMembers)
			close(c.done)
			continue
		}
		for _, e := range c.elems {
			changes[e] = c.add
			switch {
			case c.add:
				size++
			case held(e):
				size--
			}
		}
		grows = grows || c.add && len(c.elems) > 0
		batch = append(batch, c)
	}
	return batch, changes, grows
}

// forgetLocked removes members from held, and does not access Redis. The lock is held.
func (p *Presence[T]) forgetLocked(elems []string) {
	for _, e := range elems {
		if _, held := p.held[e]; held {
			delete(p.held, e)
			p.dirty = true
		}
	}
}
