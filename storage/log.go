package storage

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// LogOptions bound a [Log].
type LogOptions struct {
	// MaxLen is the number of records that are kept. Defaults to 1,000.
	MaxLen int
	// MaxRecord is the largest size of a record, in bytes. Defaults to 64 KiB.
	MaxRecord int
	// TTL is the time after the last Append at which the log is deleted. Defaults to
	// never.
	TTL time.Duration
}

func (o LogOptions) complete() (LogOptions, error) {
	switch {
	case o.MaxLen < 0:
		return o, fmt.Errorf("storage: LogOptions.MaxLen: %d is negative", o.MaxLen)
	case o.MaxRecord < 0:
		return o, fmt.Errorf("storage: LogOptions.MaxRecord: %d is negative", o.MaxRecord)
	}
	o.MaxLen = cmp.Or(o.MaxLen, 1000)
	o.MaxRecord = cmp.Or(o.MaxRecord, 64<<10)
	return o, checkTTL("LogOptions.TTL", o.TTL)
}

// Log keeps the newest records in a list of Redis, and drops older ones. Any number of
// goroutines and processes may append to it.
type Log struct {
	object
	opts LogOptions
}

// NewLog returns the log with a name. It does not access Redis.
func NewLog(pool *Pool, name string, opts ...LogOptions) (*Log, error) {
	o, err := only(opts)
	if err == nil {
		o, err = o.complete()
	}
	if err != nil {
		return nil, err
	}
	obj, err := newObject(pool, "list", name)
	if err != nil {
		return nil, err
	}
	return &Log{obj, o}, nil
}

var logAppend = redisio.NewScript(luaEach + `
each('RPUSH', 3)
redis.call('LTRIM', KEYS[1], -ARGV[1], -1)
if ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1`)

// Append adds records, drops the oldest above MaxLen and renews the TTL, in one step
// and one round trip. The caller may change the records once Append has returned. If
// one record is longer than MaxRecord, none is appended.
func (l *Log) Append(ctx context.Context, records ...[]byte) error {
	for i, r := range records {
		if len(r) > l.opts.MaxRecord {
			return fmt.Errorf("storage: log %q: record %d has %d bytes, LogOptions.MaxRecord is %d", l.key, i, len(r), l.opts.MaxRecord)
		}
	}
	if len(records) == 0 {
		return nil
	}
	records = records[max(0, len(records)-l.opts.MaxLen):]
	args := make([]any, 0, 2+len(records))
	args = append(args, l.opts.MaxLen, l.opts.TTL.Milliseconds())
	for _, r := range records {
		args = append(args, r)
	}
	_, err := l.run(ctx, logAppend, []string{l.key}, args...)
	return err
}

// Last returns the newest n records, or all if there are fewer, in the order in which
// they were appended.
func (l *Log) Last(ctx context.Context, n int) ([][]byte, error) {
	if n < 1 {
		return nil, fmt.Errorf("storage: log %q: Last: %d records", l.key, n)
	}
	lines, err := l.pool.objects().LRange(ctx, l.key, -int64(n), -1).Result()
	if err != nil {
		return nil, l.explain(ctx, err)
	}
	records := make([][]byte, len(lines))
	for i, line := range lines {
		records[i] = []byte(line)
	}
	return records, nil
}

// Len returns the number of records.
func (l *Log) Len(ctx context.Context) (int, error) {
	n, err := l.pool.objects().LLen(ctx, l.key).Result()
	return int(n), l.explain(ctx, err)
}
