package keywords

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/heliograph/heliograph/internal/busio"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// The methods of the worker that a dispatcher is.
const (
	methodModify  = "modify"
	methodRefresh = "refresh"
)

// request is the argument of both methods. All changes of a modify are made, or none.
// The JSON form serves callers in a shell.
type request struct {
	Changes []requestedChange `json:"c"`
	Origin  string            `json:"o"`

	// Of a modify that has its turn among those of a client: a number of the client, and
	// the turn, which rises. Both are zero in others.
	Client int64 `json:"i,omitempty"`
	Turn   int64 `json:"t,omitempty"`
}

type requestedChange struct {
	Name string `json:"k"`
	Text string `json:"v"`
	If   string `json:"r,omitempty"` // the revision that the keyword must have; empty: any
}

// handle carries out a call. The worker is serial: it runs one handle at a time.
func (d *Dispatcher) handle(ctx context.Context, p busio.Call) {
	var req request
	codec, args := p.Args()
	if err := codec.Unmarshal(args, &req); err != nil {
		p.Answer(storage.Text, nil, wireError(&Error{Code: CodeMalformed, Service: d.service.name, Text: err.Error()}))
		return
	}
	err := d.withTurn(ctx, func() error {
		switch p.Method() {
		case methodModify:
			d.stats.modifies.Add(1)
			if err := d.turns.take(req); err != nil {
				return err
			}
			return d.modify(ctx, req, p)
		case methodRefresh:
			d.stats.refreshes.Add(1)
			return d.refresh(ctx, req, p)
		}
		return &Error{Code: CodeMalformed, Service: d.service.name, Text: fmt.Sprintf("no method %q", p.Method())}
	})
	if err != nil {
		d.stats.refused.Add(1)
		p.Answer(storage.Text, nil, wireError(err))
	}
}

// withTurn calls run, which may call hooks, while no other hook runs and the lease is
// valid. It waits for both until ctx ends.
func (d *Dispatcher) withTurn(ctx context.Context, run func() error) error {
	select {
	case <-d.turn:
	default: // Done makes a channel; avoid that if the turn is free
		select {
		case <-d.turn:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { d.turn <- struct{}{} }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		valid, extended := d.lease.valid()
		if valid != nil {
			return d.recoverPanic(run)
		}
		select {
		case <-extended:
		case <-d.commits.ended:
			return d.commits.failed()
		case <-ctx.Done():
		}
	}
}

// recoverPanic turns a panic of a hook into an error.
func (d *Dispatcher) recoverPanic(run func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			d.stats.panics.Add(1)
			d.log.Error("keywords: panic in a hook", "panic", v, "stack", string(debug.Stack()))
			err = &Error{Code: CodeRejected, Service: d.service.name, Text: "a hook panicked"}
		}
	}()
	return run()
}

// modify carries out changes and stages their values, all or none. If it returns an error,
// nothing is staged; hooks that ran before are not undone.
func (d *Dispatcher) modify(ctx context.Context, req request, p busio.Call) error {
	if len(req.Changes) == 0 {
		return &Error{Code: CodeMalformed, Service: d.service.name, Text: "no changes"}
	}
	if slices.ContainsFunc(req.Changes, d.hooked) {
		hooks, detach, err := d.lease.attach(ctx)
		if err != nil {
			return err
		}
		defer detach()
		ctx = hooks
	}
	all := make([]staged, 0, len(req.Changes))
	for _, c := range req.Changes {
		if s := d.served[c.Name]; len(req.Changes) > 1 && s != nil && s.hooks.Move != nil {
			return &Error{Code: CodeRejected, Service: d.service.name, Keyword: c.Name, Text: "a keyword with a Move hook is modified alone"}
		}
	}
	for _, c := range req.Changes {
		st, err := d.prepare(ctx, c, req.Origin)
		if err != nil {
			return err
		}
		all = append(all, st)
	}
	if first := &all[0]; first.write && first.served.hooks.Move != nil {
		first.pending = p
		return d.beginMove(ctx, *first)
	}
	if err := d.commits.room(all); err != nil { // before any Write hook runs; values that Set stages meanwhile are not counted
		return err
	}
	var committed chan error // for Postwrite hooks; nil: there are none
	for i := range all {
		st := &all[i]
		if !st.write {
			continue
		}
		h := &st.served.hooks
		if h.Postwrite != nil {
			committed = make(chan error, 1)
		}
		if h.Write != nil {
			all[len(all)-1].acted = true // the writer waits for the last
			if err := h.Write(ctx, st.canonical); err != nil {
				if valid, _ := d.lease.valid(); valid == nil {
					return redisio.Wrap(fmt.Sprintf("keywords: %s: the lease ended while its Write hook ran", st.served.def), ErrIndeterminate)
				}
				return d.rejected(st.served, err)
			}
		}
		st.rec.at = d.clock.Now().UnixMicro()
	}
	last := &all[len(all)-1]
	last.pending, last.done = p, committed
	if err := d.commits.enter(all); err != nil {
		if last.acted && !errors.Is(err, CodeRevision) {
			return ErrIndeterminate
		}
		return err
	}
	if committed == nil {
		return nil
	}
	select { // the writer is answered once the values are committed, independently of this
	case err := <-committed:
		if err != nil {
			return nil
		}
	case <-time.After(d.cfg.Drain):
		d.log.Warn("keywords: Postwrite not called, the value was not committed in time", "keyword", last.served.def.Name)
		return nil
	}
	for i := range all {
		if st := &all[i]; st.write && st.served.hooks.Postwrite != nil {
			d.postwrite(ctx, st)
		}
	}
	return nil
}

// hooked reports whether a modify of the keyword runs hooks before it is committed.
func (d *Dispatcher) hooked(c requestedChange) bool {
	s := d.served[c.Name]
	return s != nil && (s.hooks.Prewrite != nil || s.hooks.Check != nil || s.hooks.Write != nil)
}

// postwrite runs the last hook of a modify. Ctx ends with the answer to the writer,
// which may have been sent: the hook has a time of its own, and ends with the lease.
func (d *Dispatcher) postwrite(ctx context.Context, st *staged) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.Drain)
	defer cancel()
	ctx, detach, err := d.lease.attach(ctx)
	if err == nil {
		defer detach()
		err = d.recoverPanic(func() error { return st.served.hooks.Postwrite(ctx, st.canonical) })
	}
	if err != nil {
		d.log.Warn("keywords: Postwrite failed", "keyword", st.served.def.Name, "error", err)
	}
}

// prepare checks a change, calls Prewrite and Check, and returns the value to stage.
func (d *Dispatcher) prepare(ctx context.Context, c requestedChange, by string) (staged, error) {
	s := d.served[c.Name]
	if s == nil {
		return staged{}, &Error{Code: CodeUnknownKeyword, Service: d.service.name, Keyword: c.Name}
	}
	refuse := func(code Code, format string, args ...any) (staged, error) {
		return staged{}, &Error{Code: code, Service: d.service.name, Keyword: c.Name, Text: fmt.Sprintf(format, args...)}
	}
	if s.def.ReadOnly {
		return refuse(CodeReadOnly, "")
	}
	if d.cfg.Allow != nil {
		if err := d.cfg.Allow(ctx, parseOrigin(by), c.Name); err != nil {
			return refuse(CodeNotAllowed, "%v", err)
		}
	}
	v, err := s.def.Parse(c.Text)
	if err == nil {
		err = s.def.Check(v)
	}
	if err != nil {
		return staged{}, err
	}
	now, was := d.commits.newest(s)
	if err := d.commits.checkRevision(s, c.If); err != nil {
		return staged{}, err
	}
	if s.hooks.Move != nil {
		if err := d.moves.admit(s); err != nil {
			return staged{}, err
		}
	}
	st := d.newValue(s, v, now, was, by)
	st.only = c.If
	if s.hooks.Prewrite != nil {
		switch err := s.hooks.Prewrite(ctx, valueOf(&now, was), v); {
		case errors.Is(err, ErrNoWriteNecessary):
			if d.inPosition(s) {
				st.write = false
				return st, nil
			}
		case err != nil:
			return staged{}, d.rejected(s, err)
		}
	}
	if s.hooks.Check != nil {
		if err := s.hooks.Check(ctx, v); err != nil {
			return staged{}, d.rejected(s, err)
		}
	}
	return st, nil
}

// rejected returns the error of a hook as the writer gets it.
func (d *Dispatcher) rejected(s *served, err error) error {
	var own *Error
	if !errors.As(err, &own) {
		own = &Error{Code: CodeRejected, Text: err.Error()}
	}
	if own.Service != "" { // most often the error of another modify, which the hook called
		return own
	}
	return &Error{Code: own.Code, Service: d.service.name, Keyword: s.def.Name, Text: own.Text}
}

// refresh calls the read hooks of a keyword and stages their result if it differs from the
// present value. Without a Read hook it only answers.
func (d *Dispatcher) refresh(ctx context.Context, req request, p busio.Call) error {
	if len(req.Changes) != 1 {
		return &Error{Code: CodeMalformed, Service: d.service.name, Text: "want one keyword"}
	}
	name := req.Changes[0].Name
	s := d.served[name]
	if s == nil {
		return &Error{Code: CodeUnknownKeyword, Service: d.service.name, Keyword: name}
	}
	ctx, detach, err := d.lease.attach(ctx)
	if err != nil {
		return err
	}
	defer detach()
	st, err := d.runReadHooks(ctx, s)
	if err != nil {
		return err
	}
	if !st.write && s.hooks.Read != nil {
		// The value in Redis may be an external write. Commit what is staged before it is
		// compared.
		if err := d.stageAndWait(ctx, staged{served: s}); err != nil {
			return err
		}
		d.external.check(ctx, s, ExternalRevert)
	}
	st.pending = p
	return d.commits.stage(st)
}

// runReadHooks calls the read hooks of a keyword. The result has a value to write if that
// differs from the present one by more than the dead band.
func (d *Dispatcher) runReadHooks(ctx context.Context, s *served) (staged, error) {
	h := &s.hooks
	st := staged{served: s}
	if h.Preread != nil {
		if err := h.Preread(ctx); err != nil {
			return st, d.rejected(s, err)
		}
	}
	if h.Read == nil {
		return st, nil
	}
	v, err := h.Read(ctx)
	if err == nil {
		err = s.def.Check(v)
	}
	if err != nil {
		return st, d.rejected(s, err)
	}
	if h.Postread != nil {
		if err := h.Postread(ctx, v); err != nil {
			return st, d.rejected(s, err)
		}
	}
	now, was := d.commits.newest(s)
	next := d.newValue(s, v, now, was, "")
	if now.sameState(&next.rec) && near(was, v, s.def.DeadBand) {
		return st, nil
	}
	return next, nil
}
