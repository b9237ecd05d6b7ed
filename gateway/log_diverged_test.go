package gateway

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A replica that lacked the last messages has become the primary, and others have got their
// numbers. A client that had the lost ones has missed those.
func TestAnOffsetOfAnotherPrimaryIsNotInTheLog(t *testing.T) {
	t.Parallel()
	l := newLog(&Limits{LogBytes: 1 << 20, LogMessages: 100}, false)
	l.begin("E:100-40")
	for n := 41; n <= 45; n++ {
		l.makeRoom(messageBytes)
		l.add(&Message{Offset: fmt.Sprintf("E:200-%d", n)}, "")
	}
	for since, want := range map[string]place{
		"E:100-40": inside, "E:200-43": inside, "E:200-45": inside,
		"E:99-40": older, "E:150-43": older, "E:201-45": older, "E:100-39": older, "F:200-43": older,
		"E:200-46": ahead,
	} {
		at, where := l.locate(since)
		require.Equal(t, want, where, since)
		if where == inside {
			require.Equal(t, since, l.offsetBefore(at))
		}
	}
}
