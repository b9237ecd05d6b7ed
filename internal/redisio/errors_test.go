package redisio_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
)

type reply string

func (r reply) Error() string { return string(r) }

func (reply) RedisError() {}

func TestFateOfErrorReplies(t *testing.T) {
	t.Parallel()
	for text, fate := range map[string]redisio.Fate{
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.":           redisio.Unsent,
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.": redisio.Unsent,
		"BUSYGROUP Consumer Group name already exists":                                                     redisio.Settled,
		"BUSYKEY Target key name already exists.":                                                          redisio.Settled,
		"WRONGTYPE Operation against a key holding the wrong kind of value":                                redisio.Settled,
		"NOPERM this user has no permissions to run the 'rpush' command":                                   redisio.Settled,
	} {
		require.Equal(t, fate, redisio.FateOf(reply(text)), text)
		require.Equal(t, fate, redisio.FateOf(fmt.Errorf("wrapped: %w", reply(text))), text)
	}
}
