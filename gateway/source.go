package gateway

import (
	"context"
	"errors"
	"sync"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// Source is where publications come from. A host whose publications are not in Redis
// implements it. A Source may implement [Publisher] and [Recaller] as well. A snapshot
// from a Source of the host's may contain what the next message repeats: only Redis
// knows the order of the two.
type Source interface {
	// Follow calls deliver with each publication on a channel, in order and one at a
	// time, from before it returns until stop is called. deliver runs the hooks
	// [Hooks].Publication, and does not wait for clients. An [*Error] goes to the client;
	// the client sees any other as unavailable or internal.
	Follow(ctx context.Context, channel string, deliver func(Publication)) (stop func(), err error)
}

// Publisher is implemented by a [Source] to which clients can publish.
// Config.ClientPublish requires it.
type Publisher interface {
	// Publish publishes data, which is JSON, and returns the number of receivers.
	Publish(ctx context.Context, channel string, data []byte) (receivers int, err error)
}

// Recaller is implemented by a [Source] that keeps a history of its publications.
// Channel.History requires it.
type Recaller interface {
	// Recall returns the publications after the offset since, oldest first, and the
	// offset of the newest. complete is false, and missed empty, if the history does
	// not reach back to since. An empty since asks for the newest offset only. Offsets
	// have the form of a [pubsub.Offset], and its order.
	Recall(ctx context.Context, channel, since string) (missed []Publication, newest string, complete bool, err error)
}

// Publication is a message from a [Source].
type Publication struct {
	Data   []byte // must not be modified afterwards. What isn't JSON becomes a string
	Offset string // its place in the history, in the form of a pubsub.Offset; empty: there is none
	Gap    bool   // stands for messages that may have been lost

	seq   int64 // pubsub.Message.Seq
	ended error // the subscription has ended
}

// redisSource is the Source of what is published in Redis.
type redisSource struct {
	h      *Handler
	client *pubsub.Client
	own    bool // the client is closed with the source

	listening sync.Mutex       // held while marking is made
	marking   *pubsub.Listener // subscribed to markChannel; nil before the first mark

	mu             sync.Mutex
	reachable      context.Context // ends, and is replaced, when Redis is unreachable
	setUnreachable context.CancelFunc
	follows        map[*pubsub.Listener]func(Publication)
	markChannel    string                // with the prefix of the pool
	marks          map[string]chan int64 // marks awaited, by token; receives the number of the message
	marked         int                   // number of tokens so far
}

func newRedisSource(h *Handler) (*redisSource, error) {
	s := &redisSource{h: h, client: h.cfg.PubSub, follows: make(map[*pubsub.Listener]func(Publication)), marks: make(map[string]chan int64)}
	s.reachable, s.setUnreachable = context.WithCancel(context.Background())
	if s.client == nil {
		s.own = true
		var err error
		if s.client, err = pubsub.NewClient(h.pool, pubsub.Config{OnEvent: s.event}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// errUnreachable is returned for a channel that could not be followed because Redis is
// unreachable.
var errUnreachable = errors.New("gateway: Redis is unreachable")

// event ends all calls of Follow that wait, when a connection attempt has failed: the
// pubsub client would go on trying for each, up to Limits.Command.
func (s *redisSource) event(e pubsub.Event) {
	if e.Kind != pubsub.EventReconnectFailed {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setUnreachable()
	s.reachable, s.setUnreachable = context.WithCancel(context.Background())
}

func (s *redisSource) topic(channel string) (pubsub.Topic[[]byte], error) {
	prefix := s.h.cfg.ChannelPrefix // which errors must not reveal
	if err := checkChannel(channel); err != nil {
		return pubsub.Topic[[]byte]{}, err
	}
	if n := len(channel); len(prefix)+n > redisio.MaxName {
		return pubsub.Topic[[]byte]{}, Errorf(CodeBadName, "the name has %d bytes; %d are allowed", n, redisio.MaxName-len(prefix))
	}
	topic, err := pubsub.ParseTopic[[]byte](prefix + channel)
	if err != nil {
		return topic, err
	}
	topic = topic.WithCodec(storage.Raw)
	if rule := s.h.rule(channel); rule != nil && rule.History != nil {
		topic = topic.WithHistory(*rule.History)
	}
	return topic, nil
}

func (s *redisSource) Follow(ctx context.Context, channel string, deliver func(Publication)) (stop func(), err error) {
	topic, err := s.topic(channel)
	if err != nil {
		return nil, err
	}
	policy := pubsub.OverflowDropOldest
	if rule := s.h.rule(channel); rule != nil && rule.History != nil {
		policy = pubsub.OverflowEnd // the gap is filled from the history
	}
	s.mu.Lock()
	reach := s.reachable
	s.mu.Unlock()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(reach, func() { end(errUnreachable) })()
	listener, err := pubsub.Listen(ctx, s.client, topic, func(_ context.Context, m pubsub.Message[[]byte]) error {
		deliver(Publication{Data: m.Value, Offset: string(m.Offset), Gap: m.Err != nil, seq: m.Seq})
		return nil
	}, pubsub.SubscribeOptions{Overflow: policy})
	if err != nil && context.Cause(ctx) == errUnreachable {
		err = errUnreachable
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.follows[listener] = deliver
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		delete(s.follows, listener)
		s.mu.Unlock()
		_ = listener.Close()
	}, nil
}

// sweep ends the channels whose subscription Redis has ended.
func (s *redisSource) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for listener, deliver := range s.follows {
		if err := listener.Err(); err != nil {
			delete(s.follows, listener)
			deliver(Publication{ended: err})
		}
	}
}

func (s *redisSource) Recall(ctx context.Context, channel, since string) (missed []Publication, newest string, complete bool, err error) {
	topic, err := s.topic(channel)
	if err != nil {
		return nil, "", false, err
	}
	messages, last, err := pubsub.Recall(ctx, s.client, topic, pubsub.Offset(since), pubsub.SubscribeOptions{
		MaxMessages: s.h.cfg.Limits.LogMessages, MaxBytes: s.h.cfg.Limits.LogBytes,
	})
	switch {
	case errors.Is(err, pubsub.ErrGap):
		return nil, string(last), false, nil
	case err != nil:
		return nil, "", false, err
	}
	for _, m := range messages {
		missed = append(missed, Publication{Data: m.Value, Offset: string(m.Offset)})
	}
	return missed, string(last), true, nil
}

// covers reports whether a message at offset was published when head was the newest
// offset.
func covers(head, offset string) bool {
	return offset == head || pubsub.Offset(offset).Before(pubsub.Offset(head))
}

func (s *redisSource) Publish(ctx context.Context, channel string, data []byte) (int, error) {
	topic, err := s.topic(channel)
	if err != nil {
		return 0, err
	}
	return pubsub.Publish(ctx, s.client, topic, data)
}

// close closes the pubsub client, if it is the handler's own; otherwise the
// subscription to marks.
func (s *redisSource) close() {
	if s.own {
		_ = s.client.Close()
		return
	}
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.marking != nil {
		_ = s.marking.Close()
	}
}
