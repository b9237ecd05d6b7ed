package keywords

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/heliograph/heliograph/internal/redisio"
)

// maxRemark is the maximum length of SetOptions.Text in bytes.
const maxRemark = 1024

// SetOptions are the options of [Set]: what the device says of the value.
type SetOptions struct {
	// Severity is at least how alarming the value is: the keyword's Alarm may make it
	// worse. That of a sensor that is broken is [SeverityInvalid]. Defaults to
	// [SeverityNone]: only the Alarm counts.
	Severity Severity

	// Text is for people, such as why the value has its severity: "no signal from the
	// encoder". At most 1,024 bytes. It is Value.Text until the keyword is set again.
	// Defaults to none.
	Text string

	// Time is when the device measured the value, by the device's clock, to the
	// microsecond. It is Value.Time in the place of the time at which the value was
	// set, as EPICS does with a timestamp of the device; revisions alone say which of
	// two values is newer. It must be after 1970-01-01 and before the year 10000. The
	// zero Time means that of Set, by the clock of Redis.
	Time time.Time
}

func (o SetOptions) check() error {
	switch {
	case int(o.Severity) >= len(severityNames):
		return fmt.Errorf("keywords: SetOptions.Severity: no %v", o.Severity)
	case len(o.Text) > maxRemark:
		return fmt.Errorf("keywords: SetOptions.Text: %d bytes, the limit is %d", len(o.Text), maxRemark)
	case !utf8.ValidString(o.Text):
		return fmt.Errorf("keywords: SetOptions.Text: %.40q is not UTF-8", o.Text)
	case !o.Time.IsZero() && (o.Time.UnixMicro() <= 0 || o.Time.UTC().Year() > 9999):
		return fmt.Errorf("keywords: SetOptions.Time: %v is not after 1970-01-01 and before the year 10000", o.Time)
	}
	return nil
}

// Set sets a keyword from the dispatcher's own code and returns once the value is
// committed. It calls no hooks, and sets read-only keywords too. A value that the
// definition does not allow is an error. Set waits until the dispatcher has its lease;
// after Run it returns [ErrClosed].
func Set[T Type](ctx context.Context, d *Dispatcher, k Keyword[T], v T, opts ...SetOptions) error {
	o, err := optional(opts)
	if err == nil {
		err = o.check()
	}
	if err == nil {
		err = k.check("Set")
	}
	if err != nil {
		return err
	}
	if k.Service() != d.service.name {
		return &Error{Code: CodeUnknownKeyword, Service: k.Service(), Keyword: k.Name()}
	}
	return d.set(ctx, k.Name(), k.encode(v), o)
}

func (d *Dispatcher) set(ctx context.Context, name string, v any, o SetOptions) error {
	s := d.served[name]
	if s == nil {
		return &Error{Code: CodeUnknownKeyword, Service: d.service.name, Keyword: name}
	}
	if err := s.def.Check(v); err != nil {
		return err
	}
	if !closed(d.loaded) { // if loaded, ctx may have ended: a hook may still set the state in which it leaves the hardware
		select {
		case <-d.loaded:
		case <-d.runEnded:
			return ErrClosed
		case <-ctx.Done():
			return redisio.Because(ctx.Err(), d.trouble.get())
		}
	}
	now, was := d.commits.newest(s)
	next := d.newValue(s, v, now, was, "")
	next.rec.severity = max(next.rec.severity, o.Severity)
	next.rec.remark = o.Text
	if !o.Time.IsZero() {
		next.rec.at = o.Time.UnixMicro()
	}
	if s.def.DeadBand > 0 && now.sameState(&next.rec) && near(was, v, s.def.DeadBand) {
		return nil
	}
	return d.stageAndWait(ctx, next)
}

// sameState reports whether next is as alarming as r, for the same reason: then a dead band
// may keep next from being committed.
func (r *record) sameState(next *record) bool {
	return r.at != 0 && r.severity == next.severity && r.remark == next.remark
}

// stageAndWait stages a value and waits until it is committed. If st has nothing to write,
// it waits until all values staged before are committed.
func (d *Dispatcher) stageAndWait(ctx context.Context, st staged) error {
	st.done = make(chan error, 1)
	if err := d.commits.stage(st); err != nil {
		return err
	}
	return d.awaitCommit(ctx, st)
}

// awaitCommit waits until a value that was staged is committed, or ctx ends.
func (d *Dispatcher) awaitCommit(ctx context.Context, st staged) error {
	select {
	case err := <-st.done:
		return err
	case <-ctx.Done():
		return redisio.Because(ctx.Err(), d.trouble.get())
	}
}
