package main

import (
	"time"

	"github.com/heliograph/heliograph/keywords"
)

// State says whether the stage moves.
type State int32

const (
	Idle State = iota
	Moving
)

// Shutter is the position of the dome's shutter.
type Shutter int32

const (
	Closed Shutter = iota
	Open
)

// Lamps are the lamps of the dome, one bit each.
type Lamps uint32

const (
	Flat Lamps = 1 << iota
	Arc
	Work
)

// travelled is the distance in mm on which TEMP rises by one degree.
const travelled = 20

// The keywords of the stage. Only the stage's own code sets the read-only ones.
var (
	StageTarget = keywords.Define("stage", "TARGET", keywords.Spec[float64]{
		Help: "target position; a modify returns on arrival", Units: "mm", Format: "%.2f", Min: new(0.0), Max: new(100.0),
	})
	StageStop = keywords.Define("stage", "STOP", keywords.Spec[bool]{
		Help: "true stops the stage", Dispatcher: "brake", Initial: new(false),
	})
	StagePosition = keywords.Define("stage", "POSITION", keywords.Spec[float64]{
		Help: "position of the stage", Units: "mm", Format: "%.2f", ReadOnly: true, Initial: new(0.0),
		History: 10_000, // an archiver may be away for 4 minutes of moves
	})
	StageSpeed = keywords.Define("stage", "SPEED", keywords.Spec[float64]{
		Help: "speed of moves", Units: "mm/s", Min: new(1.0), Max: new(500.0), Initial: new(50.0),
		Alarm: keywords.Alarm{HighMinor: new(200.0)},
	})
	StageState = keywords.Define("stage", "STATE", keywords.Spec[State]{
		Help: "whether the stage moves", Enumerators: []string{Idle: "idle", Moving: "moving"}, ReadOnly: true, Initial: new(Idle),
	})
	StageEnabled = keywords.Define("stage", "ENABLED", keywords.Spec[bool]{
		Help: "whether the motor has current", Enumerators: []string{"off", "on"}, Initial: new(true),
	})
	StageTemp = keywords.Define("stage", "TEMP", keywords.Spec[float32]{
		Help: "temperature of the motor", Units: "°C", Format: "%.1f", ReadOnly: true,
		Alarm: keywords.Alarm{HighMinor: new(12.5), HighMajor: new(50.0), Hysteresis: 0.5},
	})
	StageMoves = keywords.Define("stage", "MOVES", keywords.Spec[int32]{
		Help: "number of moves", ReadOnly: true, Initial: new(int32(0)),
	})
	StageEncoder = keywords.Define("stage", "ENCODER", keywords.Spec[[]int64]{
		Help: "turns of the motor, and 1/4096 of a turn", Elements: []string{"turns", "steps"}, ReadOnly: true, Initial: new([]int64{0, 0}),
	})
	StageOffset = keywords.Define("stage", "OFFSET", keywords.Spec[[]float64]{
		Help: "offset found by the alignment", Units: "µm", Elements: []string{"x", "y", "z"}, Min: new([]float64{-500}), Max: new([]float64{500}), Persist: true,
	})
	StageCalib = keywords.Define("stage", "CALIB", keywords.Spec[[]byte]{
		Help: "calibration data of the maker", MaxLen: 64, Persist: true,
	})
)

// The keywords of the dome.
var (
	DomeTarget = keywords.Define("dome", "TARGET", keywords.Spec[float64]{
		Help: "target of the slit; the dome turns the shorter way, and a modify returns on arrival", Units: "°", Format: "%.1f", Min: new(0.0), Max: new(360.0),
	})
	DomeStop = keywords.Define("dome", "STOP", keywords.Spec[bool]{
		Help: "true stops the dome; a modify returns when it rests", Initial: new(false),
	})
	DomeAzimuth = keywords.Define("dome", "AZ", keywords.Spec[float64]{
		Help: "azimuth of the slit", Units: "°", Format: "%.1f", ReadOnly: true, Initial: new(350.0),
	})
	DomeShutter = keywords.Define("dome", "SHUTTER", keywords.Spec[Shutter]{
		Help: "a modify returns when the shutter has moved", Enumerators: []string{Closed: "closed", Open: "open"}, Initial: new(Closed),
	})
	DomeLamps = keywords.Define("dome", "LAMPS", keywords.Spec[Lamps]{
		Help: "lamps that are on", Bits: []string{"flat", "arc", "work"}, Initial: new(Work),
	})
	DomeNote = keywords.Define("dome", "NOTE", keywords.Spec[string]{
		Help: "purpose of the night", MaxLen: 80, Persist: true,
	})
	DomeCrew = keywords.Define("dome", "CREW", keywords.Spec[[]string]{
		Help: "people on site", Persist: true,
	})
)

// period is the time between two readings of the temperature, and between two printed
// changes of a keyword.
const period = 200 * time.Millisecond
