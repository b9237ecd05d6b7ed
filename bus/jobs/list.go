package jobs

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ListOptions are the options of [Client.List].
type ListOptions struct {
	// Cursor is where to go on: what List returned last. Defaults to the beginning.
	Cursor string
	// Limit is the number of jobs to return at most, up to 1,000. Defaults to 100.
	Limit int
}

// List returns jobs of a queue in a state: StateWaiting and StateRunning by priority and
// age, StateScheduled by when they are due, StateDead by when they died, oldest first.
// Next is the Cursor for more, "" at the end. Jobs that change their state meanwhile may
// be missed or listed twice.
func (c *Client) List(ctx context.Context, queue string, state State, opts ...ListOptions) (list []Info, next string, err error) {
	var o ListOptions
	if len(opts) > 1 {
		return nil, "", invalid("more than one ListOptions")
	} else if len(opts) == 1 {
		o = opts[0]
	}
	if o.Limit == 0 {
		o.Limit = 100
	}
	if o.Limit < 0 || o.Limit > 1000 {
		return nil, "", invalid("ListOptions.Limit: %d is not between 1 and 1000", o.Limit)
	}
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, "", err
	}
	defer cancel()
	q, err := openQueue(c.pool, c.cfg.Site, queue)
	if err != nil {
		return nil, "", err
	}
	switch state {
	case StateWaiting, StateRunning:
		list, next, err = c.listStreams(ctx, q, state, o)
	case StateScheduled:
		list, next, err = c.listSet(ctx, q, q.later(), state, o)
	case StateDead:
		list, next, err = c.listSet(ctx, q, q.dead(), state, o)
	default:
		return nil, "", invalid("jobs in state %q can't be listed", state)
	}
	if err != nil {
		return nil, "", wrap(ctx, "list of "+queue, err)
	}
	return list, next, nil
}

// listStreams lists the entries of the streams. The cursor is the place after which to
// go on.
func (c *Client) listStreams(ctx context.Context, q queue, state State, o ListOptions) (list []Info, next string, err error) {
	from := place{priority: all[0], entry: "0-0"}
	if o.Cursor != "" {
		ok := false
		if from, ok = parsePlace(o.Cursor); !ok {
			return nil, "", invalid("ListOptions.Cursor: %.100q", o.Cursor)
		}
	}
	begun := false
	for _, p := range all {
		start := "0-0"
		if p == from.priority {
			begun, start = true, from.entry
		}
		if !begun {
			continue
		}
		if len(list) == o.Limit {
			return list, place{p, "0-0"}.String(), nil
		}
		var part []Info
		var last string
		switch {
		case state == StateRunning:
			part, last, err = c.listRunning(ctx, q, p, start, o.Limit-len(list))
		case p == grouped:
			part, last, err = c.listGrouped(ctx, q, start, o.Limit-len(list))
		default:
			part, last, err = c.listWaiting(ctx, q, p, start, o.Limit-len(list))
		}
		if err != nil {
			return nil, "", err
		}
		if list = append(list, part...); last != "" {
			return list, place{p, last}.String(), nil
		}
	}
	return list, "", nil
}

// listWaiting lists entries after start that were not delivered. Last is the id of the
// last one looked at, "" if there are no more. Entries that were given back are listed as
// running ones, with their state.
func (c *Client) listWaiting(ctx context.Context, q queue, p Priority, start string, limit int) (list []Info, last string, err error) {
	rdb := c.pool.Redis()
	groups, err := rdb.XInfoGroups(ctx, q.ready(p)).Result()
	if err != nil && !strings.Contains(err.Error(), "no such key") {
		return nil, "", err
	}
	for _, g := range groups {
		if g.Name == group && less(start, g.LastDeliveredID) {
			start = g.LastDeliveredID
		}
	}
	entries, err := rdb.XRangeN(ctx, q.ready(p), after(start), "+", int64(limit+1)).Result()
	if err != nil {
		return nil, "", err
	}
	for i, e := range entries {
		if i == limit {
			return list, last, nil
		}
		last = e.ID
		list = append(list, q.entry(place{p, e.ID}, e.Values))
	}
	return list, "", nil
}

func (c *Client) listRunning(ctx context.Context, q queue, p Priority, start string, limit int) (list []Info, last string, err error) {
	rdb := c.pool.Redis()
	pending, err := rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: q.ready(p), Group: group, Start: after(start), End: "+", Count: int64(limit + 1),
	}).Result()
	if err != nil {
		if noGroup(err) {
			err = nil
		}
		return nil, "", err
	}
	more := len(pending) > limit
	pending = pending[:min(limit, len(pending))]
	cmds, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, e := range pending {
			pipe.XRange(ctx, q.ready(p), e.ID, e.ID)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	for i, e := range pending {
		last = e.ID
		if found := cmds[i].(*redis.XMessageSliceCmd).Val(); len(found) > 0 {
			info := q.entry(place{p, e.ID}, found[0].Values)
			info.runs(e)
			list = append(list, info)
		}
	}
	if !more {
		last = ""
	}
	return list, last, nil
}

// listGrouped lists jobs of groups that wait. Start and last are ranks, in the form of an
// entry's id.
func (c *Client) listGrouped(ctx context.Context, q queue, start string, limit int) (list []Info, last string, err error) {
	rdb := c.pool.Redis()
	first, _ := halves(start)
	members, err := rdb.ZRange(ctx, q.grouped(), int64(first), int64(first)+int64(limit)).Result()
	if err != nil || len(members) == 0 {
		return nil, "", err
	}
	if len(members) > limit {
		members, last = members[:limit], strconv.FormatUint(first+uint64(limit), 10)+"-0"
	}
	ids := make([]string, len(members))
	for i, m := range members {
		if _, place, ok := strings.Cut(m, "\x01"); ok && len(place) > 17 {
			ids[i] = place[17:]
		}
	}
	records, err := rdb.HMGet(ctx, q.jobs(), ids...).Result()
	if err != nil {
		return nil, "", err
	}
	for i, data := range records {
		if text, ok := data.(string); ok {
			r, err := unpackRecord(text)
			if err != nil {
				return nil, "", errors.Join(err, errors.New(ids[i]))
			}
			list = append(list, q.info(ids[i], StateWaiting, &r))
		}
	}
	return list, last, nil
}

// less compares ids of entries.
func less(a, b string) bool {
	aMs, aSeq := halves(a)
	bMs, bSeq := halves(b)
	return aMs < bMs || aMs == bMs && aSeq < bSeq
}

func halves(id string) (ms, seq uint64) {
	left, right, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseUint(left, 10, 64)
	seq, _ = strconv.ParseUint(right, 10, 64)
	return ms, seq
}

// listSet lists the jobs of a sorted set. The cursor is a rank.
func (c *Client) listSet(ctx context.Context, q queue, key string, state State, o ListOptions) (list []Info, next string, err error) {
	first := int64(0)
	if o.Cursor != "" {
		if first, err = strconv.ParseInt(o.Cursor, 10, 64); err != nil || first < 0 {
			return nil, "", invalid("ListOptions.Cursor: %.100q", o.Cursor)
		}
	}
	rdb := c.pool.Redis()
	found, err := rdb.ZRangeWithScores(ctx, key, first, first+int64(o.Limit)).Result()
	if err != nil || len(found) == 0 {
		return nil, "", err
	}
	more := len(found) > o.Limit
	found = found[:min(o.Limit, len(found))]
	ids := make([]string, len(found))
	for i, z := range found {
		ids[i], _ = z.Member.(string)
		if state == StateScheduled && ids[i] != "" {
			ids[i] = ids[i][1:]
		}
	}
	records, err := rdb.HMGet(ctx, q.jobs(), ids...).Result()
	if err != nil {
		return nil, "", err
	}
	for i, data := range records {
		text, ok := data.(string)
		if !ok {
			continue
		}
		r, err := unpackRecord(text)
		if err != nil {
			return nil, "", errors.Join(err, errors.New(ids[i]))
		}
		info := q.info(ids[i], state, &r)
		if state == StateScheduled {
			info.Due = time.UnixMilli(int64(found[i].Score))
		}
		list = append(list, info)
	}
	if more {
		next = strconv.FormatInt(first+int64(o.Limit), 10)
	}
	return list, next, nil
}
