package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// LogRecord is a log record that [Worker.LogHandler] has kept.
type LogRecord struct {
	Time    time.Time      `json:"time"`
	Level   slog.Level     `json:"level"`
	Message string         `json:"message"`
	Attrs   map[string]any `json:"attrs,omitempty"` // groups are maps
}

// LogHandler returns a handler that passes every record to next, unless that is nil,
// and, while the worker runs, keeps the last [WorkerConfig].KeepLog records of at
// least level in Redis. [Client.Log] reads them, also after the worker's end. The
// handler never waits for Redis: records that can't be written yet are kept in memory,
// as many as in Redis. A record larger than [WorkerConfig].MaxMessage or KeepLogBytes is
// not kept.
func (w *Worker) LogHandler(next slog.Handler, level slog.Leveler) slog.Handler {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.log == nil {
		w.log = &logKeeper{
			limit: w.cfg.KeepLog, bytes: w.cfg.KeepLogBytes, size: min(w.cfg.MaxMessage, w.cfg.KeepLogBytes),
			more: make(chan struct{}, 1),
		}
	}
	keep := slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: level})
	if next == nil {
		return keep
	}
	return slog.NewMultiHandler(next, keep)
}

// Log returns the newest n records, or fewer, that the worker with an id has kept. The
// newest is the last.
func (c *Client) Log(ctx context.Context, worker string, n int) ([]LogRecord, error) {
	if err := Direct(worker).check(); err != nil {
		return nil, err
	}
	ctx, cancel := withEnd(ctx, c.deadline(ctx, time.Now()))
	defer cancel()
	log, err := keptLog(c.pool, c.cfg.Site, worker, storage.LogOptions{})
	if err != nil {
		return nil, err
	}
	var lines [][]byte
	err = c.ask(ctx, func(ctx context.Context, _ redis.UniversalClient) (err error) {
		lines, err = log.Last(ctx, n)
		return err
	})
	if err != nil {
		return nil, redisio.Wrap(fmt.Sprintf("bus: log of %s", worker), err)
	}
	records := make([]LogRecord, len(lines))
	for i, line := range lines {
		if records[i], err = readRecord(line); err != nil {
			return nil, redisio.Wrap(fmt.Sprintf("bus: log of %s", worker), err)
		}
	}
	return records, nil
}

// keptLog returns the log in which the records of a worker are kept.
func keptLog(pool *storage.Pool, site, worker string, opts storage.LogOptions) (*storage.Log, error) {
	return storage.NewLog(pool, strings.Join([]string{"bus", site, "log", worker}, ":"), opts)
}

// readRecord decodes a record of a slog.JSONHandler.
func readRecord(line []byte) (LogRecord, error) {
	r := LogRecord{}
	if err := storage.JSON.Unmarshal(line, &r.Attrs); err != nil {
		return r, err
	}
	text := func(key string) string {
		s, _ := r.Attrs[key].(string)
		delete(r.Attrs, key)
		return s
	}
	r.Message = text(slog.MessageKey)
	r.Time, _ = time.Parse(time.RFC3339Nano, text(slog.TimeKey))
	_ = r.Level.UnmarshalText([]byte(text(slog.LevelKey)))
	return r, nil
}

// logKeeper holds records until they are written.
type logKeeper struct {
	limit int           // records
	bytes int           // of all
	size  int           // of one, in bytes
	more  chan struct{} // there are records; holds one

	mu      sync.Mutex
	records [][]byte
	waiting int   // bytes of records
	kept    []int // sizes of the records in Redis; used by flush
}

// Write adds one record. If there are too many, the oldest are dropped.
func (k *logKeeper) Write(line []byte) (int, error) {
	record := bytes.TrimSuffix(line, []byte("\n"))
	if len(record) > k.size { // it would be refused, and all others with it
		return 0, fmt.Errorf("bus: log record of %d bytes is not kept, the smaller of WorkerConfig.MaxMessage and KeepLogBytes is %d", len(record), k.size)
	}
	k.mu.Lock()
	k.records = append(k.records, bytes.Clone(record))
	k.waiting += len(record)
	k.dropOldestLocked()
	k.mu.Unlock()
	signal(k.more)
	return len(line), nil
}

func (k *logKeeper) dropOldestLocked() {
	for len(k.records) > k.limit || k.waiting > k.bytes {
		k.waiting -= len(k.records[0])
		k.records = k.records[1:]
	}
}

// fit returns how many of the last records, of these sizes, Redis keeps.
func (k *logKeeper) fit(sizes []int) (n int) {
	bytes := 0
	for n < min(len(sizes), k.limit) {
		if bytes += sizes[len(sizes)-1-n]; bytes > k.bytes {
			break
		}
		n++
	}
	return n
}

// flush writes the records to Redis, to a log that open returns for so many.
func (k *logKeeper) flush(ctx context.Context, open func(limit int) (*storage.Log, error)) error {
	k.mu.Lock()
	records := k.records
	k.records, k.waiting = nil, 0
	k.mu.Unlock()
	if len(records) == 0 {
		return nil
	}
	kept := k.kept
	for _, r := range records {
		kept = append(kept, len(r))
	}
	kept = kept[len(kept)-k.fit(kept):]
	log, err := open(len(kept))
	if err == nil {
		err = log.Append(ctx, records...)
	}
	if err == nil || errors.Is(err, storage.ErrIndeterminate) {
		k.kept = kept
		return nil // records may be missing, but not twice
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range records {
		k.waiting += len(r)
	}
	k.records = append(records, k.records...)
	k.dropOldestLocked()
	return err
}

// logPause is the pause between two writes of records, so that many share a round
// trip.
const logPause = 50 * time.Millisecond

// keepLog starts to write the records of LogHandler. The function that it returns
// writes the last ones and ends it.
func (w *Worker) keepLog() (end func()) {
	w.mu.Lock()
	keeper := w.log
	w.mu.Unlock()
	if keeper == nil {
		return func() {}
	}
	log := func(limit int) (*storage.Log, error) {
		return keptLog(w.pool, w.cfg.Site, w.info.ID, storage.LogOptions{MaxLen: limit, TTL: w.cfg.KeepLogFor, MaxRecord: w.cfg.MaxMessage})
	}
	stopped := startTask(func(stop chan struct{}) {
		for try := 0; ; {
			select {
			case <-keeper.more:
			case <-stop:
				return
			}
			pause := logPause
			ctx, cancel := context.WithTimeout(context.Background(), redisio.BlockTime)
			if err := keeper.flush(ctx, log); err != nil {
				w.throttle.Warn(w.link.log, "bus: log records not written to Redis, trying again", "error", err)
				pause = redisio.Backoff(try)
				try++
				signal(keeper.more)
			} else {
				try = 0
			}
			cancel()
			select {
			case <-time.After(pause):
			case <-stop:
				return
			}
		}
	})
	return func() {
		stopped()
		_ = w.withStopTimeout(func(ctx context.Context) error { return keeper.flush(ctx, log) })
	}
}
