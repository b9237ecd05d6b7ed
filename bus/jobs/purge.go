package jobs

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Purge removes the jobs of a queue that are in a state when it begins: StateWaiting,
// StateScheduled or StateDead. It returns how many it has removed, also with an error. It
// asks Redis for 100 at a time, so that others are not delayed.
func (c *Client) Purge(ctx context.Context, queue string, state State) (removed int64, err error) {
	counts, err := c.Counts(ctx, queue)
	if err != nil {
		return 0, err
	}
	left := map[State]int64{StateWaiting: counts.Waiting, StateScheduled: counts.Scheduled, StateDead: counts.Dead}[state]
	q, err := openQueue(c.pool, c.cfg.Site, queue)
	if err != nil {
		return 0, err
	}
	if state != StateWaiting && state != StateScheduled && state != StateDead {
		return 0, invalid("jobs in state %q can't be purged", state)
	}
	for cursor := ""; left > 0; {
		list, next, err := c.List(ctx, queue, state, ListOptions{Cursor: cursor, Limit: int(min(left, purgeCount))})
		if err != nil {
			return removed, err
		}
		n, err := c.removeJobs(ctx, q, list, state)
		removed += n
		if err != nil {
			return removed, wrap(ctx, "purge "+queue, err)
		}
		left -= int64(len(list))
		if n == 0 { // workers have begun all of them meanwhile
			cursor = next
		}
		if len(list) == 0 || cursor == "" && n == 0 {
			break
		}
	}
	return removed, nil
}

// purgeCount is how many jobs Purge removes in a round trip.
const purgeCount = 100

func (c *Client) removeJobs(ctx context.Context, q queue, list []Info, state State) (removed int64, err error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	script, command := luaCancel, func(id string, info Info) []any {
		where := ""
		if p, ok := placeOf(id); ok {
			where = p.String()
		}
		return luaCancel.Command(q.keys(q.flow(info.flow)), []any{id, where, group, info.unique, "waiting", node(info.flow, id)})
	}
	if state == StateDead {
		script, command = luaDiscard, func(id string, _ Info) []any {
			return luaDiscard.Command([]string{q.jobs(), q.dead()}, []any{id})
		}
	}
	for spelled := false; ; spelled = true {
		var cmds []*redis.Cmd
		_, err = c.pool.Redis().Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, info := range list {
				words := command(info.ID[len(q.name)+1:], info)
				if spelled {
					words = script.Spell(words)
				}
				cmds = append(cmds, p.Do(ctx, words...))
			}
			return nil
		})
		if redisio.IsUnknownScript(err) && !spelled {
			continue
		}
		for _, cmd := range cmds {
			if what := cmd.Val(); what == int64(1) || what == "waiting" || what == "scheduled" {
				removed++
			}
		}
		return removed, err
	}
}
