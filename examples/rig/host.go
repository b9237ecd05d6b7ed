package main

import (
	"fmt"
	"os"
	"testing"
)

// host runs the launchers of the test kit outside of a test.
type host struct {
	testing.TB // of which only the methods below are called
	cleanups   []func()
}

// hostFailure ends the rig.
type hostFailure string

func (f hostFailure) Error() string { return string(f) }

func (h *host) Helper()           {}
func (h *host) Cleanup(do func()) { h.cleanups = append(h.cleanups, do) }

func (h *host) Fatal(args ...any) { panic(hostFailure(fmt.Sprint(args...))) }

func (h *host) Fatalf(format string, args ...any) { panic(hostFailure(fmt.Sprintf(format, args...))) }

func (h *host) Skip(args ...any) { h.Fatal(args...) }

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "rig")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// end undoes what was begun, the latest first.
func (h *host) end() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
}
