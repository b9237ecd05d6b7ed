package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// presenceChange is a client that joins or leaves a channel with a presence, as handlers tell each
// other.
type presenceChange struct {
	Client string `json:"client"`
	Name   string `json:"name,omitempty"`
	Left   bool   `json:"left,omitempty"`
}

// joins makes the messages of a channel with Channel.Joins, on a goroutine of its own: it
// knows who is present, and compares that with what it is told and, from time to time, with
// what Redis has. So clients of a process that has died leave as well, and what was missed
// is made up for.
type joins struct {
	h       *Handler
	of      string // the channel with the presence
	all     *storage.Presence[presenceEntry]
	deliver func(Publication)
	told    chan presenceChange     // what handlers tell
	missed  chan struct{}           // holds one: something may have been missed
	present map[presenceChange]bool // none of them Left
}

const (
	joinsLease = 15 * time.Second // the lease of storage.Presence
	joinsAgain = joinsLease       // the time between two reads of Redis
	joinsAfter = joinsLease / 2   // the time until the read after a gap: then all that are present are listed again
	joinsQueue = 1024             // what handlers have told and was not handled yet; more is read from Redis
)

// joinsOf returns the channel whose joins and leaves a channel has.
func (h *Handler) joinsOf(name string) (of string, err error) {
	of = strings.TrimPrefix(name, h.rule(name).Joins)
	if rule := h.rule(of); of == "" || rule == nil || !rule.Presence {
		return "", Errorf(CodeForbidden, "%s has no presence", quoteName(of))
	}
	return of, nil
}

// joinsTopic returns the topic on which handlers tell who joins and leaves a channel. Redis
// pub/sub ignores databases.
func (h *Handler) joinsTopic(of string) (pubsub.Topic[presenceChange], error) {
	return ownTopic[presenceChange](h.pool, shorten("joins", h.cfg.ChannelPrefix+of, redisio.MaxName-32))
}

// announces reports whether the joins of a channel are the messages of another one.
func (h *Handler) announces(of string) bool {
	return slices.ContainsFunc(h.cfg.Channels, func(ch Channel) bool {
		name := ch.Joins + of
		return ch.Joins != "" && matches(ch.Pattern, name) && h.rule(name).Joins == ch.Joins
	})
}

// announce tells all handlers that a client joins or leaves. What fails is made up for by
// their next read of Redis.
func (ch *channel) announce(ctx context.Context, a presenceEntry, left bool) {
	h := ch.hub.h
	if !ch.announced {
		return
	}
	topic, err := h.joinsTopic(ch.name)
	if err == nil {
		_, err = pubsub.Publish(ctx, h.redis.client, topic, h.joinOf(h.id, a, left))
	}
	if err != nil {
		ch.warnPresence("a join or leave will be reported late", err)
	}
}

// joinOf returns the client of an entry that a handler holds. Connections have numbers in
// their handler.
func (h *Handler) joinOf(handler string, a presenceEntry, left bool) presenceChange {
	return presenceChange{Client: handler + "." + a.Conn, Name: a.Name, Left: left}
}

// followJoins is the Source.Follow of a channel with Channel.Joins.
func (h *Handler) followJoins(ctx context.Context, name string, deliver func(Publication)) (stop func(), err error) {
	of, err := h.joinsOf(name)
	if err != nil {
		return nil, err
	}
	topic, err := h.joinsTopic(of)
	if err != nil {
		return nil, err
	}
	j := &joins{h: h, of: of, deliver: deliver, told: make(chan presenceChange, joinsQueue), missed: make(chan struct{}, 1)}
	if j.all, err = h.presence(of, ""); err != nil {
		return nil, err
	}
	listener, err := pubsub.Listen(ctx, h.redis.client, topic, j.receive)
	if err == nil {
		if j.present, err = j.read(ctx); err != nil {
			_ = listener.Close()
		}
	}
	if err != nil {
		_ = j.all.Close()
		return nil, err
	}
	running, end := context.WithCancel(h.ctx)
	h.tasks.Go(func() {
		j.run(running, listener)
		_ = listener.Close()
		_ = j.all.Close()
	})
	return end, nil
}

// receive queues what a handler tells.
func (j *joins) receive(_ context.Context, m pubsub.Message[presenceChange]) error {
	err := m.Err
	if err == nil {
		select {
		case j.told <- m.Value:
			return nil
		default: // it is read from Redis
		}
	}
	select {
	case j.missed <- struct{}{}:
	default: // run has not looked yet
	}
	if errors.Is(err, pubsub.ErrGap) {
		err = nil
	}
	return err
}

// run delivers joins and leaves until ctx or the listener ends.
func (j *joins) run(ctx context.Context, listener *pubsub.Listener) {
	again := time.NewTimer(joinsAgain)
	defer again.Stop()
	for {
		select {
		case told := <-j.told:
			j.handle(told)
		case <-j.missed:
			again.Reset(joinsAfter)
		case <-again.C:
			again.Reset(joinsAgain)
			if err := j.compare(ctx); err != nil && ctx.Err() == nil {
				j.h.warned.presence.Warn(j.h.log, "gateway: presence: who has joined and left can't be read, trying again", "channel", j.of, "error", err)
			}
		case <-listener.Done():
			if ctx.Err() == nil {
				j.deliver(Publication{ended: listener.Err()})
			}
			return
		case <-ctx.Done():
			return
		}
	}
}

// handle delivers a join or leave, unless it is known.
func (j *joins) handle(told presenceChange) {
	who := told
	who.Left = false
	if j.present[who] != told.Left {
		return
	}
	if told.Left {
		delete(j.present, who)
	} else {
		j.present[who] = true
	}
	event := map[string]string{"event": "joined", "channel": j.of, "client": told.Client}
	if told.Left {
		event["event"] = "left"
	}
	if told.Name != "" {
		event["principal"] = told.Name
	}
	raw, err := json.Marshal(event)
	if err != nil {
		panic(err) // it is strings
	}
	j.deliver(Publication{Data: raw})
}

// compare delivers what was missed: those who have left before those who have joined.
func (j *joins) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, j.h.cfg.Limits.Command)
	defer cancel()
	now, err := j.read(ctx)
	if err != nil {
		return err
	}
	var changes []presenceChange
	for who := range j.present {
		if !now[who] {
			who.Left = true
			changes = append(changes, who)
		}
	}
	for who := range now {
		if !j.present[who] {
			changes = append(changes, who)
		}
	}
	for _, change := range changes {
		j.handle(change)
	}
	return nil
}

// read returns who is present.
func (j *joins) read(ctx context.Context) (map[presenceChange]bool, error) {
	now := make(map[presenceChange]bool)
	for present, err := range j.all.All(ctx) {
		if err != nil {
			return nil, err
		}
		now[j.h.presentOf(present)] = true
	}
	return now, nil
}

// presentOf returns a client that is present, from what its handler holds.
func (h *Handler) presentOf(p storage.Present[presenceEntry]) presenceChange {
	handler, _, _ := strings.Cut(p.Owner, ":")
	return h.joinOf(handler, p.Member, false)
}
