package gateway_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Reading a message stops at Limits.Args, and costs no more than what was read.
// AllocsPerRun excludes parallel tests.
func TestParsingStopsAtTheLimitOfArguments(t *testing.T) {
	const size = 64 << 10
	fill := func(head, part, tail string) []byte {
		return []byte(head + strings.Repeat(part, (size-len(head)-len(tail))/len(part)) + tail)
	}
	for name, row := range map[string]struct {
		protocol gateway.Protocol
		message  []byte
	}{
		"words":          {gateway.Text, fill("GET ", "a ", "")},
		"options":        {gateway.Text, fill("GET ", `a="" `, "")},
		"quoted words":   {gateway.Text, fill("GET ", `"a" `, "")},
		"JSON arguments": {gateway.JSON, fill(`{"command":"GET","args":["a"`, `,1`, "]}")},
		"JSON options":   {gateway.JSON, fill(`{"command":"GET","options":{"a":1`, `,"a":1`, "}}")},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			allocs := testing.AllocsPerRun(1, func() { _, err = row.protocol.Parse(row.message, 16) })
			require.ErrorContains(t, err, "more than 16 arguments and options")
			require.Less(t, allocs, 500.0)
		})
	}
}

// counted counts the messages that are read.
type counted struct {
	gateway.Protocol
	parsed *atomic.Int64
}

func (p counted) Parse(message []byte, args int) (gateway.Request, error) {
	p.parsed.Add(1)
	return p.Protocol.Parse(message, args)
}

func TestMessagesAreChargedBeforeTheyAreRead(t *testing.T) {
	t.Parallel()
	var parsed atomic.Int64
	cfg := anything
	cfg.Protocols = []gateway.Protocol{counted{gateway.Text, &parsed}}
	cfg.Limits = gateway.Limits{Commands: 1e-3, CommandBurst: 5}
	h, address := serve(t, storagetest.New(t), cfg)
	w := connect(t, address)
	const sent = 50
	for range sent {
		w.send(frame(fin|text, "NOPE "+strings.Repeat(" ", 2<<10)))
	}
	require.Eventually(t, func() bool { return h.Stats().TooFast == sent-5 }, patience, time.Millisecond)
	require.EqualValues(t, 5, parsed.Load())
}

// A bomb that is refused is not inflated: it would end the connection with 1009.
func TestMessagesAreChargedBeforeTheyAreInflated(t *testing.T) {
	t.Parallel()
	cfg := anything
	cfg.Compression = true
	cfg.Limits = gateway.Limits{Commands: 1e-3, CommandBurst: 1}
	_, address := serve(t, storagetest.New(t), cfg)
	w := connect(t, address, deflate)
	w.send(frames(frame(fin|text, "DEL x"), frame(fin|rsv1|text, packed(t, strings.Repeat("x", 1<<20)))))
	require.Equal(t, "too_fast", w.said())
}
