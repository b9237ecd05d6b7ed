package pubsub

import (
	"context"

	"github.com/heliograph/heliograph/storage"
)

// Packet is a message as [Middleware] sees it, encoded.
type Packet struct {
	// Channel is the topic, without the pool's prefix.
	Channel string
	// Codec is the form of the payload.
	Codec storage.Codec
	// Payload is the encoded value. It must not be modified, but may be replaced.
	// A replaced one is decoded for each subscription by itself.
	Payload []byte
	// Err, when receiving, is what is told in place of a message, such as a gap.
	Err error

	publish  *publish // when publishing
	item     *item    // when receiving: what it was made from
	original []byte   // Payload as it was
}

// Handler publishes or delivers a packet.
type Handler func(ctx context.Context, p *Packet) error

// Middleware is wrapped around a Handler: to measure, to trace, to encrypt, to
// withhold by not calling next.
//
// When publishing, next returns once the packet is on its way; an error in place
// of it is the error of the Publish. When receiving, it runs where the message
// is consumed, once for each subscription, and next returns when the handler of
// a listener has, with its error, or a subscription's channel has taken it.
type Middleware func(next Handler) Handler

// wrap puts middleware around a handler, the first outermost.
func wrap(around []Middleware, h Handler) Handler {
	for i := len(around) - 1; i >= 0; i-- {
		h = around[i](h)
	}
	return h
}
