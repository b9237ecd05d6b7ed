package pubsub

import (
	"fmt"
	"io"
)

// ReadReplies reads replies until it can't, and says what they are.
func ReadReplies(from io.Reader) (all []string, err error) {
	in := newReplies(from)
	for {
		rep, err := in.next()
		if err != nil {
			return all, err
		}
		what := ""
		switch rep.what {
		case message:
			what = fmt.Sprintf("message %q %q", rep.name, rep.payload)
		case pmessage:
			what = fmt.Sprintf("pmessage %q %q %q", rep.name, rep.channel, rep.payload)
		case smessage:
			what = fmt.Sprintf("smessage %q %q", rep.name, rep.payload)
		case refused:
			what = fmt.Sprint("refused ", rep.err)
		case confirmed, sconfirmed:
			what = fmt.Sprintf("confirmed %q", rep.name)
			if rep.unsub {
				what = "un" + what
			}
		default:
			what = "other"
		}
		all = append(all, what)
	}
}
