package storage

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// redisLog receives go-redis's own log lines. go-redis has one logger for the
// whole process, does not say which client a line is about, and has no way to read
// which logger is set. So redisLog is set before the host's code runs: a host that
// calls redis.SetLogger replaces it. While no pool made by Open is open, lines are
// printed as go-redis prints them.
var redisLog = &redisLogger{plain: log.New(os.Stderr, "redis: ", log.LstdFlags|log.Lshortfile)}

func init() { redis.SetLogger(redisLog) }

type redisLogger struct {
	plain *log.Logger

	mu        sync.Mutex
	loggers   []*slog.Logger               // of the open pools made by Open
	throttles map[string]*redisio.Throttle // by format
}

func (l *redisLogger) add(logger *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loggers = append(l.loggers, logger)
}

func (l *redisLogger) remove(logger *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.loggers, logger); i >= 0 {
		l.loggers = slices.Delete(l.loggers, i, i+1)
	}
}

// Printf logs a line once to each logger, and lines of one format once a minute.
func (l *redisLogger) Printf(_ context.Context, format string, v ...any) {
	l.mu.Lock()
	var loggers []*slog.Logger
	for _, logger := range l.loggers {
		if !slices.Contains(loggers, logger) {
			loggers = append(loggers, logger)
		}
	}
	l.mu.Unlock()
	text := fmt.Sprintf(format, v...)
	if len(loggers) == 0 {
		_ = l.plain.Output(3, text) // the caller of go-redis's own Printf
		return
	}
	for _, logger := range loggers {
		l.throttle(logger, format).Warn(logger, "storage: go-redis reports", "message", text)
	}
}

func (l *redisLogger) throttle(logger *slog.Logger, format string) *redisio.Throttle {
	key := fmt.Sprintf("%p %s", logger, format)
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.throttles[key]
	if t == nil {
		if l.throttles == nil || len(l.throttles) >= maxThrottles {
			l.throttles = make(map[string]*redisio.Throttle)
		}
		t = new(redisio.Throttle)
		l.throttles[key] = t
	}
	return t
}

// maxThrottles bounds redisLogger.throttles. go-redis has about 200 formats.
const maxThrottles = 1024
