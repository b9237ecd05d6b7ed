package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

const (
	maxCheckpoint = 1 << 20
	checkpointTTL = 7 * 24 * time.Hour
)

// luaCheckpoint keeps a value of a job, if the job is still the worker's.
//
// KEYS stream, checkpoint; ARGV group, worker, entry, value, ms.
var luaCheckpoint = redisio.NewScript(`
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then return 0 end
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
return 1`)

// Checkpoint keeps how far the job is, for [Job.Resume] in a later attempt: steps that were
// done need not be done again. The value is encoded in msgpack, to 1 MiB at most, and
// replaces the one before. It is kept until the job is done, and for 7 days. If another
// worker has the job, Checkpoint changes nothing and returns [ErrLeaseLost].
func (j Job) Checkpoint(ctx context.Context, value any) error {
	if j.r == nil {
		return invalid("checkpoint of a Job that is not from FromContext")
	}
	data, err := storage.MsgPack.Marshal(value)
	if err != nil {
		return invalid("checkpoint of %s: %v", j.ID, err)
	}
	if len(data) > maxCheckpoint {
		return invalid("checkpoint of %s: %d bytes, the limit is %d", j.ID, len(data), maxCheckpoint)
	}
	r, s := j.r, j.r.s
	s.mu.Lock()
	r.checkpointed = true
	s.mu.Unlock()
	keys := []string{s.q.ready(r.place.priority), s.q.checkpoint(r.id)}
	n, err := luaCheckpoint.Run(ctx, s.pool.Redis(), keys, group, s.host.ID(), r.place.entry, data, checkpointTTL.Milliseconds()).Int64()
	if err == nil && n == 0 {
		err = ErrLeaseLost
	}
	return wrap(ctx, "checkpoint of "+j.ID, err)
}

// Resume stores the value of the last [Job.Checkpoint] of the job, in this or an earlier
// attempt, in value, a pointer. Without one it returns false and leaves value as it is.
func (j Job) Resume(ctx context.Context, value any) (bool, error) {
	if j.r == nil {
		return false, invalid("checkpoint of a Job that is not from FromContext")
	}
	r, s := j.r, j.r.s
	data, err := s.pool.Redis().Get(ctx, s.q.checkpoint(r.id)).Bytes()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err == nil {
		s.mu.Lock()
		r.checkpointed = true
		s.mu.Unlock()
		err = storage.MsgPack.Unmarshal(data, value)
	}
	return err == nil, wrap(ctx, "checkpoint of "+j.ID, err)
}
