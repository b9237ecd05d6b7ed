package keywords

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Moving is a move that a Hooks.Move carries out.
type Moving[T any] struct {
	Target T     // the value to reach
	ID     int64 // the number of the move, as watchers see it

	progress func(fraction float64, text string) error
}

// Progress tells watchers how far the move is: a fraction from 0 to 1, and a text of
// at most 1,024 bytes, which may be empty. It returns once that is committed, or
// with an error: ctx has ended, or the fraction is not from 0 to 1. A hook may ignore
// the error.
func (m *Moving[T]) Progress(fraction float64, text string) error {
	return m.progress(fraction, text)
}

// Move is the newest move of a keyword with Hooks.Move; see [ReadMove].
type Move struct {
	ID       int64     `json:"id"` // 1 for the keyword's first move, and one more for each later one; 0: there was none
	State    MoveState `json:"state"`
	Target   string    `json:"target"`         // the value to reach, as text; empty for a write-only keyword
	Progress float64   `json:"progress"`       // from 0 to 1, as the hook last reported it; 1 once the move is done
	Text     string    `json:"text,omitempty"` // as the hook last reported it; or why the move was aborted or has failed
}

// MoveState says whether a keyword moves, and how its newest move has ended.
type MoveState uint8

const (
	MoveNone    MoveState = iota // there was no move yet
	MoveRunning                  // the move goes on
	MoveDone                     // the keyword is in position: the value is the target
	MoveAborted                  // the move was aborted, or its dispatcher has ended; the value is as before
	MoveFailed                   // the hook has returned an error; the value is as before
)

var moveNames = [...]string{"none", "running", "done", "aborted", "failed"}

// String returns none, running, done, aborted or failed.
func (s MoveState) String() string {
	if int(s) >= len(moveNames) {
		return fmt.Sprintf("move state %d", uint8(s))
	}
	return moveNames[s]
}

// MarshalText returns the state's name.
func (s MoveState) MarshalText() ([]byte, error) {
	if int(s) >= len(moveNames) {
		return nil, fmt.Errorf("keywords: no %v", s)
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads the name of a state.
func (s *MoveState) UnmarshalText(text []byte) error {
	i := slices.Index(moveNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("keywords: no move state %.40q", text)
	}
	*s = MoveState(i)
	return nil
}

// ReadMove returns the newest move of a keyword with Hooks.Move, with the time of its
// last progress. It reads the read-only keyword that the dispatcher defines for that:
// TARGET_MOVE for TARGET, an array of strings with the elements id, state, target,
// progress and text. Tools and expressions use it too:
//
//	$dome.TARGET_MOVE[1] == done
func ReadMove[T Type](ctx context.Context, c *Client, k Keyword[T]) (Value[Move], error) {
	if err := k.check("ReadMove"); err != nil {
		return Value[Move]{}, err
	}
	def, err := moveDefinition(k.def)
	if err != nil {
		return Value[Move]{}, err
	}
	recs, err := c.persistRead(ctx, def.Service, []Definition{def})
	if err == nil {
		err = recs[0].refused(&def)
	}
	if err != nil {
		return Value[Move]{}, err
	}
	v, err := moveValue(&def, &recs[0].record)
	v.Quality = recs[0].quality
	return v, err
}

// WatchMove is [Watch] of the newest move of a keyword: see [ReadMove].
func WatchMove[T Type](ctx context.Context, c *Client, k Keyword[T], opts ...WatchOptions) iter.Seq2[Event[Move], error] {
	return func(yield func(Event[Move], error) bool) {
		err := k.check("WatchMove")
		var def Definition
		if err == nil {
			def, err = moveDefinition(k.def)
		}
		if err != nil {
			yield(Event[Move]{}, err)
			return
		}
		value := func(r *record) (Value[Move], error) { return moveValue(&def, r) }
		watchAs(ctx, c, value, yield, opts, target{service: def.Service, name: def.Name})
	}
}

// Abort ends the move of a keyword, and a move that waits to supersede it. It is most
// often called by the Write hook of another keyword, such as STOP. The contexts of the
// moves end, and their writers get reason as the text of a [CodeAborted] error. Abort
// returns once the Move hook has returned, or with the error of ctx if that ends
// first. If nothing moves, it returns nil. A Move hook must not abort its own
// keyword's move, which would wait for itself: it returns an error instead.
func Abort[T Type](ctx context.Context, d *Dispatcher, k Keyword[T], reason string) error {
	if err := k.check("Abort"); err != nil {
		return err
	}
	s := d.served[k.Name()]
	switch {
	case s == nil || k.Service() != d.service.name:
		return &Error{Code: CodeUnknownKeyword, Service: k.Service(), Keyword: k.Name()}
	case s.hooks.Move == nil:
		return fmt.Errorf("keywords: Abort: %v has no Move hook", k)
	}
	return d.moves.abort(ctx, s, reason)
}

// The keyword that shows the moves of another one has the other's name and moveSuffix,
// and the elements moveElements.
const moveSuffix = "_MOVE"

var moveElements = []string{"id", "state", "target", "progress", "text"}

// moveDefinition returns the definition of the keyword that shows the moves of def.
func moveDefinition(def *Definition) (Definition, error) {
	return Definition{
		Service: def.Service, Name: def.Name + moveSuffix, Dispatcher: def.Dispatcher, Kind: KindStringArray,
		Help: "newest move of " + def.Name, Elements: moveElements, ReadOnly: true, Persist: true, Initial: Move{}.elements(),
	}.Complete()
}

func (m Move) elements() []string {
	return []string{strconv.FormatInt(m.ID, 10), m.State.String(), m.Target, strconv.FormatFloat(m.Progress, 'g', -1, 64), m.Text}
}

// parseMove reads what elements returns.
func parseMove(elements []string) (m Move, err error) {
	if len(elements) != len(moveElements) {
		return m, fmt.Errorf("keywords: a move has %d elements, not %d", len(moveElements), len(elements))
	}
	var errID, errProgress error
	m.ID, errID = strconv.ParseInt(elements[0], 10, 64)
	errState := m.State.UnmarshalText([]byte(elements[1]))
	m.Progress, errProgress = strconv.ParseFloat(elements[3], 64)
	m.Target, m.Text = elements[2], elements[4]
	return m, errors.Join(errID, errState, errProgress)
}

// moveValue returns r, of the keyword def that shows moves, as a move.
func moveValue(def *Definition, r *record) (v Value[Move], err error) {
	v = valueOf(r, Move{})
	if r.at == 0 && r.text == "" {
		return v, nil
	}
	elements, err := def.Parse(r.text)
	if err == nil {
		v.V, err = parseMove(elements.([]string))
	}
	return v, err
}

// maxMoveText is the maximum length of Move.Text, in bytes.
const maxMoveText = 1024

// moveText returns text as a valid Move.Text.
func moveText(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxMoveText)], "")
}
