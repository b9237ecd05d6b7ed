package bus

import (
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// SetWorkerClock makes a worker's clock wrong by so much, before Run.
func SetWorkerClock(w *Worker, off time.Duration) { w.clock = wrongClock(off) }

// SetClientClock makes a client's clock wrong by so much, before its first call.
func SetClientClock(c *Client, off time.Duration) { c.clock = wrongClock(off) }

func wrongClock(off time.Duration) *redisio.Clock {
	return redisio.NewClock(func() time.Time { return time.Now().Add(off) })
}

// UnpackRequest, UnpackReply and UnpackNotice read a frame and, if it is one, pack it again.
func UnpackRequest(frame []byte) (again []byte, err error) {
	var r request
	if err := r.unpack(string(frame)); err != nil {
		return nil, err
	}
	return r.pack(), nil
}

func UnpackReply(frame []byte) (again []byte, err error) {
	var r reply
	if err := r.unpack(string(frame)); err != nil {
		return nil, err
	}
	return r.pack(), nil
}

func UnpackNotice(frame []byte) (again []byte, err error) {
	var n notice
	if err := n.unpack(string(frame)); err != nil {
		return nil, err
	}
	return n.pack(), nil
}
