package keywords

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// History returns the last n values of a keyword, newest first, as canonical text. It
// returns fewer if fewer are kept: see [Spec].History.
func History(ctx context.Context, c *Client, service, name string, n int) ([]Value[string], error) {
	if n < 1 {
		return nil, fmt.Errorf("keywords: history of %s.%s: n is %d, want 1 or more", service, name, n)
	}
	def, err := c.Describe(ctx, service, name)
	if err != nil {
		return nil, err
	}
	switch {
	case def.WriteOnly:
		return nil, &Error{Code: CodeWriteOnly, Service: service, Keyword: name}
	case def.History == 0:
		return nil, nil // values in Redis are of an earlier definition
	}
	s, err := newService(c.pool, service)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	var lines []redis.XMessage
	err = c.persist(ctx, func() (err error) {
		lines, err = c.pool.Redis().XRevRangeN(ctx, s.log(name), "+", "-", int64(min(n, def.History))).Result()
		return err
	})
	if err != nil {
		return nil, redisio.Wrap(fmt.Sprintf("keywords: history of %s.%s", service, name), err)
	}
	values := make([]Value[string], len(lines))
	for i, line := range lines {
		r, _, err := readLine(name, line)
		if err != nil {
			return nil, redisio.Wrap(fmt.Sprintf("keywords: history of %s.%s", service, name), err)
		}
		values[i] = valueOf(&r, r.text)
	}
	return values, nil
}

// historyLine returns a value as a line of the history, without its revision, which is the
// line's id. Prev is the revision of the line before, by which a reader knows whether it
// has missed lines: the longest history loses its oldest line with each new one, and
// Redis may lose lines.
func historyLine(r *record, prev Revision) ([]byte, error) {
	return storage.JSON.Marshal([]any{r.text, prev, r.at, r.severity, r.source, r.remark})
}

// readLine reads what historyLine returned.
func readLine(name string, line redis.XMessage) (r record, prev Revision, err error) {
	r.name = name
	if r.rev, err = ParseRevision(strings.Replace(line.ID, "-", ":", 1)); err != nil {
		return r, prev, err
	}
	text, _ := line.Values["l"].(string)
	var fields []json.RawMessage
	into := []any{&r.text, &prev, &r.at, &r.severity, &r.source, &r.remark}
	if err = storage.JSON.Unmarshal([]byte(text), &fields); err == nil && len(fields) != len(into) {
		err = fmt.Errorf("%d fields, want %d", len(fields), len(into))
	}
	for i := range into {
		if err == nil {
			err = storage.JSON.Unmarshal(fields[i], into[i])
		}
	}
	return r, prev, err
}
