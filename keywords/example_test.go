package keywords_test

import (
	"errors"
	"fmt"
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
	fmt.Println(errors.Is(err, keywords.ErrRange), err)
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

func ExampleLoadXML() {
	defs, err := keywords.LoadXML(strings.NewReader(`
		<bundle service="dome">
			<keyword>
				<name>SHUTTER</name> <type>enumerated</type>
				<values>
					<entry> <key>0</key> <value>open</value> </entry>
					<entry> <key>1</key> <value>closed</value> </entry>
				</values>
			</keyword>
		</bundle>`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(defs[0], defs[0].Kind, defs[0].Text(int64(1)))
	// Output: dome.SHUTTER enumerated closed
}
