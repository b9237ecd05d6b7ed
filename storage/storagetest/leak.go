package storagetest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Main runs the tests of a package and fails if they leave goroutines behind.
// It does not return.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leaked(5 * time.Second); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "%d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// leaked returns the stacks of the goroutines that are still there after wait,
// other than the caller's and the runtime's.
func leaked(wait time.Duration) []string {
	for deadline := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		left := goroutines()
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

func goroutines() []string {
	buf := make([]byte, 1<<20)
	for n := runtime.Stack(buf, true); ; n = runtime.Stack(buf, true) {
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	var left []string
	for i, stack := range strings.Split(string(buf), "\n\n") {
		if i == 0 || // the caller comes first
			strings.Contains(stack, "os/signal.signal_recv") ||
			strings.Contains(stack, "runtime.ensureSigM") ||
			strings.Contains(stack, "created by testing.") {
			continue
		}
		left = append(left, stack)
	}
	return left
}
