package gateway_test

import (
	"context"

	"github.com/heliograph/heliograph/gateway"
)

func quit(_ context.Context, c *gateway.Conn, _ gateway.Request) error {
	c.Close(4242, "as you like")
	return nil
}
