package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage/storagetest"
)

const siteTypes = `// Written by helio types --ts.

export interface Site {
  calls: {
    "calc": {
      "add": { args: { "a": number; "b": number; "note"?: string }; result: number }
      "names": { args: Record<string, never>; result: Array<string> | null }
    }
  }
  streams: {
    "calc": {
      "tail": { args: { "a": number; "b": number; "note"?: string }; item: string }
    }
  }
  keywords: {
    "stage.MODE": "idle" | "slew"
    /** how fast it turns; mm/s; 0 to 20 */
    "stage.SPEED": number
    "stage.TARGET": number[]
  }
}
`

func TestTypes(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s := on(t, pool)
	type args struct {
		A    int    `json:"a"`
		B    int    `json:"b"`
		Note string `json:"note,omitempty"`
	}
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
	require.NoError(t, err)
	bus.Handle(w, bus.NewMethod[args, int]("add"), func(context.Context, args) (int, error) { return 0, nil })
	bus.Handle(w, bus.NewMethod[struct{}, []string]("names"), func(context.Context, struct{}) ([]string, error) { return nil, nil })
	bus.HandleStream(w, bus.NewStream[args, string]("tail"), func(context.Context, args, func(string) error) error { return nil })
	bus.HandleAny(w, func(context.Context, string, bus.Body) (bus.Body, error) { return bus.Body{}, nil })
	stop, err := bus.Start(t.Context(), w)
	require.NoError(t, err)
	t.Cleanup(func() { _ = stop() })

	type mode int32
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	require.NoError(t, err)
	keywords.Serve(d, keywords.Define("stage", "SPEED", keywords.Spec[float64]{Help: "how fast it turns", Units: "mm/s", Min: new(0.0), Max: new(20.0)}), keywords.Hooks[float64]{})
	keywords.Serve(d, keywords.Define("stage", "MODE", keywords.Spec[mode]{Enumerators: []string{"idle", "slew"}}), keywords.Hooks[mode]{})
	keywords.Serve(d, keywords.Define("stage", "TARGET", keywords.Spec[[]float64]{}), keywords.Hooks[[]float64]{})
	stopDispatcher, err := keywords.Start(t.Context(), d)
	require.NoError(t, err)
	t.Cleanup(func() { _ = stopDispatcher() })

	require.Equal(t, siteTypes, s.ok("types", "--ts")+"\n")
	require.Equal(t, siteTypes, s.ok("types", "--ts", "--worker", "calc", "--service", "stage")+"\n")
	require.NotContains(t, s.ok("types", "--ts", "--service", "stage"), "calc")
	require.Contains(t, s.fails(exitUsage, "types"), "--ts is missing")
	require.Contains(t, s.fails(exitNotFound, "types", "--ts", "--worker", "none"), "none")
	require.Contains(t, s.fails(exitNotFound, "types", "--ts", "--service", "none"), "none")
}

// What is written compiles with the types of heliograph.js, and a wrong argument does not.
func TestTypesCompile(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	compiler, err := filepath.Abs("../../gateway/client/testdata/node_modules/typescript/bin/tsc")
	require.NoError(t, err)
	if _, err := os.Stat(compiler); err != nil {
		t.Skip("no TypeScript: run npm ci in gateway/client/testdata")
	}
	client, err := filepath.Abs("../../gateway/client/heliograph")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "site.ts"), []byte(siteTypes), 0o600))
	compiles := func(line string) error {
		program := "import { connect } from " + string(must(json.Marshal(client))) + "\nimport type { Site } from \"./site\"\nconst h = connect<Site>(\"/ws\")\n" + line
		require.NoError(t, os.WriteFile(filepath.Join(dir, "main.ts"), []byte(program), 0o600))
		return exec.Command("node", compiler, "--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", filepath.Join(dir, "main.ts")).Run()
	}
	require.NoError(t, compiles(`export const sum: Promise<number> = h.call("calc", "add", { a: 1, b: 2 })`))
	require.Error(t, compiles(`h.call("calc", "add", { a: 1 })`))
	require.Error(t, compiles(`h.keyword("stage.MODE").set("fly")`))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
