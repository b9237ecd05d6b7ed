package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// Remote acts on the clients of one principal in all processes: on every connection of that
// principal to a handler whose Config.Remote is the name of the Remote. Whoever may publish
// on its channel in Redis can do the same; README.md has the rights.
//
// Each method returns when all handlers that Redis has sent it to have answered. If ctx ends
// before, it returns what was reached so far with an error; without a deadline it waits 5
// seconds. On a cluster Redis does not tell how many handlers there are: a method waits a
// second, and counts those that answered.
//
// Redis keeps Disconnect and Unsubscribe for 24 hours, the newest 65,536 of them. A handler
// that was cut off carries them out when it reaches Redis again, for connections that are
// older. One that was cut off for longer asks all clients with a principal to reconnect.
// Subscribe and Send reach only handlers that are connected to Redis.
type Remote struct {
	pool     *storage.Pool
	client   *pubsub.Client
	commands pubsub.Topic[remoteCommand]
	kept     string // the key of what is kept
	id       string

	listening chan struct{} // holds a token of who subscribes to the answers

	mu        sync.Mutex
	listener  *pubsub.Listener // of the answers; nil before the first call
	questions map[uint64]*question
	asked     uint64
}

// Reached says what a method of [Remote] has reached.
type Reached struct {
	Handlers    int // that have carried it out
	Connections int // of the principal to which it was done
}

// remoteOp is what a Remote asks for.
type remoteOp string

const (
	remoteDisconnect  remoteOp = "disconnect"
	remoteSubscribe   remoteOp = "subscribe"
	remoteUnsubscribe remoteOp = "unsubscribe"
	remoteSend        remoteOp = "send"
)

// isKept reports whether Redis keeps commands of this kind.
func (op remoteOp) isKept() bool { return op == remoteDisconnect || op == remoteUnsubscribe }

// remoteCommand is what a Remote publishes.
type remoteCommand struct {
	Op        remoteOp `json:"op"`
	Principal string   `json:"principal"`
	Channel   string   `json:"channel,omitempty"`
	Data      []byte   `json:"data,omitempty"`
	From      string   `json:"from"` // the id of the Remote; empty: no answer is wanted
	Question  uint64   `json:"question"`
}

// remoteAnswer is what a handler answers.
type remoteAnswer struct {
	Question    uint64 `json:"question"`
	Connections int    `json:"connections"`
}

// question waits for answers.
type question struct {
	reached Reached       // guarded by Remote.mu
	news    chan struct{} // holds one
}

const (
	remoteKept    = 24 * time.Hour // how long Redis keeps what must not be missed
	remoteMaxKept = 65_536         // and how many
	remoteWait    = 5 * time.Second
	remoteSettle  = time.Second // for answers, on a cluster
	maxPrincipal  = 1024        // bytes
)

// keepScript keeps a command, and removes the oldest.
//
// KEYS: the sorted set. ARGV: the command, for how many ms, how many at most.
var keepScript = redisio.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[3])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

// NewRemote returns a Remote for the handlers whose Config.Remote is name. It does not access
// Redis. [storage.Pool.Close] closes it, if nothing did before.
func NewRemote(pool *storage.Pool, name string) (*Remote, error) {
	if pool == nil {
		return nil, errors.New("gateway: NewRemote: nil pool")
	}
	r := &Remote{pool: pool, id: rand.Text()[:16], listening: make(chan struct{}, 1), questions: make(map[uint64]*question)}
	var err error
	if r.commands, r.kept, err = remoteNames(pool, name); err != nil {
		return nil, fmt.Errorf("gateway: NewRemote: %w", err)
	}
	if r.client, err = pubsub.NewClient(pool, pubsub.Config{}); err != nil {
		return nil, fmt.Errorf("gateway: NewRemote: %w", err)
	}
	return r, nil
}

// remoteNames returns the channel of the commands for a name, and the key of those kept.
func remoteNames(pool *storage.Pool, name string) (commands pubsub.Topic[remoteCommand], kept string, err error) {
	if commands, err = ownTopic[remoteCommand](pool, "remote:"+name); err == nil {
		kept, err = pool.Key("gateway", "remote", name)
	}
	return commands, kept, err
}

// ownTopic returns a topic of this package's own. Redis pub/sub ignores databases.
func ownTopic[T any](pool *storage.Pool, name string) (pubsub.Topic[T], error) {
	topic, err := pubsub.ParseTopic[T](fmt.Sprintf("gateway:%d:%s", redisio.Of(pool).Database(), name))
	return topic.WithCodec(storage.JSON), err
}

// Close ends the Remote. Calls that wait for answers end with ErrClosed.
func (r *Remote) Close() error { return r.client.Close() }

// Disconnect closes all connections of a principal with 4500, as [Handler.Disconnect] does.
// Config.Authenticate must also reject the principal.
func (r *Remote) Disconnect(ctx context.Context, principal string) (Reached, error) {
	return r.do(ctx, remoteCommand{Op: remoteDisconnect, Principal: principal})
}

// Subscribe makes all clients of a principal follow a channel, as [Conn.Subscribe] does, and
// sends those that did not a status subscribed.
func (r *Remote) Subscribe(ctx context.Context, principal, channel string) (Reached, error) {
	return r.do(ctx, remoteCommand{Op: remoteSubscribe, Principal: principal, Channel: channel})
}

// Unsubscribe makes all clients of a principal no longer follow a channel, and sends those
// that did a status unsubscribed. Config.Allow must also refuse the channel to the principal.
func (r *Remote) Unsubscribe(ctx context.Context, principal, channel string) (Reached, error) {
	return r.do(ctx, remoteCommand{Op: remoteUnsubscribe, Principal: principal, Channel: channel})
}

// Send sends data to all clients of a principal, as [Conn.Send] does.
func (r *Remote) Send(ctx context.Context, principal string, data []byte) (Reached, error) {
	return r.do(ctx, remoteCommand{Op: remoteSend, Principal: principal, Data: data})
}

// do publishes a command and waits for the answers.
func (r *Remote) do(ctx context.Context, command remoteCommand) (Reached, error) {
	reached, err := r.ask(ctx, command)
	if errors.Is(err, pubsub.ErrClosed) {
		err = ErrClosed
	}
	if err != nil {
		err = fmt.Errorf("gateway: %s of %q from remote: %w", command.Op, quoteName(command.Principal), err)
	}
	return reached, err
}

func (r *Remote) ask(ctx context.Context, command remoteCommand) (Reached, error) {
	channels := command.Op == remoteSubscribe || command.Op == remoteUnsubscribe
	switch n := len(command.Principal); {
	case n == 0:
		return Reached{}, errors.New("the principal has no name")
	case n > maxPrincipal:
		return Reached{}, fmt.Errorf("the principal's name has %d bytes; %d are allowed", n, maxPrincipal)
	case channels && command.Channel == "":
		return Reached{}, errors.New("the channel has no name")
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, remoteWait)
		defer cancel()
	}
	q := &question{news: make(chan struct{}, 1)}
	r.mu.Lock()
	r.asked++
	command.From, command.Question = r.id, r.asked
	r.questions[r.asked] = q
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.questions, command.Question)
	}()
	if command.Op.isKept() { // first, so that no handler can miss it
		if err := r.keep(ctx, command); err != nil {
			return Reached{}, err
		}
	}
	if err := r.listen(ctx); err != nil {
		return Reached{}, err
	}
	handlers, err := pubsub.Publish(ctx, r.client, r.commands, command)
	if err != nil {
		return Reached{}, err
	}
	return r.await(ctx, q, handlers)
}

// keep keeps a command in Redis.
func (r *Remote) keep(ctx context.Context, command remoteCommand) error {
	body, err := storage.JSON.Marshal(command)
	if err != nil {
		return err
	}
	return redisio.Normalize(ctx, keepScript.Run(ctx, r.pool.Redis(), []string{r.kept}, body, remoteKept.Milliseconds(), remoteMaxKept).Err())
}

// await waits for the answers of a number of handlers.
func (r *Remote) await(ctx context.Context, q *question, handlers int) (Reached, error) {
	var settled <-chan time.Time
	if _, ok := r.pool.Redis().(*redis.ClusterClient); ok {
		timer := time.NewTimer(remoteSettle)
		defer timer.Stop()
		settled = timer.C
	}
	r.mu.Lock()
	ended := r.listener.Done()
	r.mu.Unlock()
	for {
		r.mu.Lock()
		reached := q.reached
		r.mu.Unlock()
		if settled == nil && reached.Handlers >= handlers {
			return reached, nil
		}
		select {
		case <-q.news:
		case <-settled:
			return reached, nil
		case <-ended:
			return reached, ErrClosed
		case <-ctx.Done():
			return reached, fmt.Errorf("%d of %d handlers have not answered: %w", handlers-reached.Handlers, handlers, ctx.Err())
		}
	}
}

// listen subscribes to the answers, at the first call.
func (r *Remote) listen(ctx context.Context) error {
	select {
	case r.listening <- struct{}{}:
		defer func() { <-r.listening }()
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	there := r.listener != nil && r.listener.Err() == nil
	r.mu.Unlock()
	if there {
		return nil
	}
	answers, err := ownTopic[remoteAnswer](r.pool, "answers:"+r.id)
	if err != nil {
		return err
	}
	listener, err := pubsub.Listen(ctx, r.client, answers, r.answered)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener = listener
	return nil
}

// answered counts an answer.
func (r *Remote) answered(_ context.Context, m pubsub.Message[remoteAnswer]) error {
	if m.Err != nil {
		return m.Err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if q := r.questions[m.Value.Question]; q != nil {
		q.reached.Handlers++
		q.reached.Connections += m.Value.Connections
		select {
		case q.news <- struct{}{}:
		default: // await has not looked yet
		}
	}
	return nil
}
