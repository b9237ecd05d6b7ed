package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/heliograph/heliograph/keywords"
)

func ExampleDefine() {
	type Mode int32
	const (
		Idle Mode = iota
		Track
	)
	speed := keywords.Define("stage", "SPEED", keywords.Spec[float64]{
		Units: "mm/s", Format: "%.2f", Min: new(0.0), Max: new(20.0),
		Alarm: keywords.Alarm{HighMinor: new(18.0), Hysteresis: 0.5},
	})
	mode := keywords.Define("stage", "MODE", keywords.Spec[Mode]{
		Enumerators: []string{Idle: "idle", Track: "track"},
		Initial:     new(Idle),
	})
	fmt.Println(speed, speed.Definition().Kind)
	fmt.Println(mode, mode.Definition().Kind)
	// Output:
	// stage.SPEED double
	// stage.MODE enumerated
}

func ExampleDefinition() {
	d := keywords.Define("stage", "SPEED", keywords.Spec[float64]{Format: "%.2f", Max: new(20.0)}).Definition()
	v, err := d.Parse("2.50")
	fmt.Println(v, err, d.Text(v), d.Display(v))
	err = d.Check(25.0)
	fmt.Println(errors.Is(err, keywords.CodeRange), err)
	// Output:
	// 2.5 <nil> 2.5 2.50
	// true keywords: stage.SPEED: range: 25 is above 20
}

func ExampleBind() {
	file := `[{"service": "stage", "name": "STEPS", "kind": "integer", "max": 4000}]`
	defs, err := keywords.LoadDefinitions(strings.NewReader(file))
	if err != nil {
		fmt.Println(err)
		return
	}
	steps, err := keywords.Bind[int](defs[0])
	fmt.Println(steps, err)
	// Output: stage.STEPS <nil>
}

// A tool has names and text, such as a user types them.
func ExampleDefinition_To() {
	_, k := exampleStage(nil)
	defer stopExample()
	ctx := context.Background()

	var settings []keywords.Setting
	for _, typed := range [][2]string{{"SPEED", "0.5e1"}, {"MODE", "TRACK"}} {
		def, err := k.Describe(ctx, "stage", typed[0])
		if err != nil {
			log.Fatal(err)
		}
		settings = append(settings, def.To(typed[1]))
	}
	_, err := keywords.ModifyMany(ctx, k, settings...)
	fmt.Println(err)
	all, err := keywords.ReadMany(ctx, k, "stage", "SPEED", "MODE")
	fmt.Println(all["SPEED"].V, all["MODE"].V, err)
	// Output:
	// <nil>
	// 5 track <nil>
}

// Tools without the Go types use names and text.
