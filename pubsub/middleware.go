package pubsub

import (
	"context"

	"github.com/heliograph/heliograph/storage"
)

// Packet is a message as [Middleware] sees it, encoded.
type Packet struct {
	// Channel is the topic, without the pool's prefix.
	Channel string
	// Codec encoded the payload.
	Codec storage.Codec
	// Payload is the encoded value. It must not be modified, but may be replaced. A
	// replaced payload is decoded once for each subscription.
	Payload []byte
	// Err, when receiving, is delivered in place of a message, such as a gap.
	Err error

	publish  *publish // when publishing
	item     *item    // when receiving: what it was made from
	original []byte   // Payload as it was
}

// Handler publishes or delivers a packet.
type Handler func(ctx context.Context, p *Packet) error

// Middleware wraps a Handler: to measure, trace or encrypt messages, or to drop them by
// not calling next.
//
// When publishing, next returns once the packet is queued for Redis; an error that the
// middleware returns is the error of Publish. When receiving, the middleware runs where
// the message is consumed, once for each subscription. Next then returns after the
// handler of a listener, with its error, or after the subscription's channel has taken
// the message.
type Middleware func(next Handler) Handler

// wrap puts middleware around a handler, the first outermost.
func wrap(around []Middleware, h Handler) Handler {
	for i := len(around) - 1; i >= 0; i-- {
		h = around[i](h)
	}
	return h
}
