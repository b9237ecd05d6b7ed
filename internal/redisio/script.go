package redisio

import (
	"context"
	"crypto/sha1"
	"encoding/hex"

	"github.com/redis/go-redis/v9"
)

// Script is a Lua script, which Redis runs atomically. All its keys are in KEYS and in
// one slot of a cluster.
type Script struct{ src, sha string }

// NewScript returns the script with a source text. It does not access Redis.
func NewScript(src string) Script {
	sum := sha1.Sum([]byte(src))
	return Script{src: src, sha: hex.EncodeToString(sum[:])}
}

// Run runs the script at most once, as [Once] does: after an error that is no reply the
// script may have run. It is sent by its hash, and by its text to a server that does not
// know it yet: sending and hashing a text takes longer than most scripts run.
func (s Script) Run(ctx context.Context, client redis.UniversalClient, keys []string, args ...any) OnceCmd {
	words := s.Command(keys, args)
	cmd := Once(ctx, words...)
	if err := client.Process(ctx, cmd); !IsUnknownScript(err) {
		return cmd
	}
	cmd = Once(ctx, s.Spell(words)...)
	_ = client.Process(ctx, cmd)
	return cmd
}

// Command returns the arguments of an EVALSHA.
func (s Script) Command(keys []string, args []any) []any {
	words := append(make([]any, 0, 3+len(keys)+len(args)), "evalsha", s.sha, len(keys))
	for _, key := range keys {
		words = append(words, key)
	}
	return append(words, args...)
}

// Spell turns a [Script.Command] into an EVAL, for a server that does not know the hash.
func (s Script) Spell(command []any) []any {
	command[0], command[1] = "eval", s.src
	return command
}

// IsUnknownScript reports whether a server does not know the hash of a script.
func IsUnknownScript(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }
