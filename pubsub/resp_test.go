package pubsub_test

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
)

func TestRepliesOfEveryShape(t *testing.T) {
	t.Parallel()
	wire := "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n" +
		"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nh\r\nlo\r\n" +
		">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$0\r\n\r\n" +
		">3\r\n$8\r\nsmessage\r\n$1\r\ns\r\n$1\r\nx\r\n" +
		"+PONG\r\n" + "*2\r\n$4\r\npong\r\n$0\r\n\r\n" +
		"-NOPERM no\r\n" + "!7\r\nERR huh\r\n" +
		">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n" + // and other pushes
		">3\r\n$6\r\nMOVING\r\n%1\r\n+a\r\n,1.5\r\n~2\r\n#t\r\n_\r\n" +
		"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n" +
		">3\r\n$12\r\nsunsubscribe\r\n$1\r\ns\r\n:0\r\n"
	want := []string{
		`confirmed "a"`, `message "a" "h\r\nlo"`, `pmessage "a*" "ab" ""`, `smessage "s" "x"`,
		"other", "other", "refused NOPERM no", "refused ERR huh", "other", "other",
		`unconfirmed ""`, `unconfirmed "s"`,
	}
	for _, r := range []io.Reader{bytes.NewBufferString(wire), iotest.OneByteReader(bytes.NewBufferString(wire))} {
		got, err := pubsub.ReadReplies(r)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{
		"\r\n", "x\r\n", "*3\n", "*0\r\n", "*-1\r\n", "*x\r\n", "*4\r\n$7\r\nmessage\r\n", "*3\r\n$7\r\nmessage\r\n:1\r\n*1\r\n",
		"*3\r\n$7\r\nmessage\r\n$9999999999\r\n", "*1\r\n*1\r\n",
	} {
		_, err := pubsub.ReadReplies(bytes.NewBufferString(bad))
		require.ErrorContains(t, err, "not what Redis sends", "%q", bad)
	}
}

func FuzzReplies(f *testing.F) {
	f.Add([]byte("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n"))
	f.Add([]byte(">2\r\n$1\r\nx\r\n%1\r\n+a\r\n*2\r\n:1\r\n_\r\n"))
	f.Add(bytes.Repeat([]byte("*1\r\n"), 1000))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := pubsub.ReadReplies(bytes.NewReader(data))
		require.Error(t, err)
	})
}
