package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/chromium"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// helpers are for the page: what is written in it, how many pixels of the canvas
// have a colour of the style sheet, and a mouse.
const helpers = `
	text = id => document.getElementById(id).textContent
	number = id => parseFloat(text(id).replaceAll(",", ""))
	canvas = document.getElementById("map")
	pixels = name => {
		const css = getComputedStyle(document.documentElement).getPropertyValue("--" + name)
		const [r, g, b] = css.match(/[0-9a-f]{2}/g).map(h => parseInt(h, 16))
		const d = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
		let n = 0
		for (let i = 0; i < d.length; i += 4) n += d[i] === r && d[i + 1] === g && d[i + 2] === b
		return n
	}
	mouse = (type, clientX, clientY) =>
		canvas.dispatchEvent(new PointerEvent(type, { clientX, clientY, pointerId: 1, bubbles: true }))
	wheel = deltaY =>
		canvas.dispatchEvent(new WheelEvent("wheel", { deltaY, clientX: 600, clientY: 250, bubbles: true, cancelable: true }))
	undefined`

// show shows the map to a browser.
func show(t *testing.T, url string) *chromium.Page {
	t.Helper()
	p := chromium.Start(t)
	p.Navigate(url)
	p.Eval(helpers)
	p.Await(`text("box") !== ""`)
	return p
}

// box returns the box that the page has told the gateway last.
func box(t *testing.T, p *chromium.Page) (left, bottom, right, top float64) {
	t.Helper()
	var command string
	require.NoError(t, json.Unmarshal(p.Eval(`text("box")`), &command))
	_, err := fmt.Sscanf(command, "BBOX %g %g %g %g exit=1", &left, &bottom, &right, &top)
	require.NoError(t, err, command)
	return left, bottom, right, top
}

func TestThePageShowsWhatMoves(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	url, _ := start(t, storagetest.New(t), "0", 300)
	p := show(t, url)
	p.Await(`number("drawn") > 200 && number("trains") > 100 && number("boats") > 20 && number("planes") > 20`)
	for _, colour := range []string{"train", "boat", "plane", "lake", "land", "ink"} {
		p.Await(`pixels("` + colour + `") > 50`)
	}
	p.Await(`number("objects") === 300 && number("arriving") > 0 && number("saved") < 60`)
	p.Eval(`before = number("messages")`)
	p.Await(`number("messages") > before + 500`)

	// A drag to the left shows what is on the right.
	left, bottom, right, top := box(t, p)
	p.Eval(`said = text("box"); mouse("pointerdown", 700, 300); for (let x = 690; x >= 400; x -= 10) mouse("pointermove", x, 290); mouse("pointerup", 400, 290)`)
	p.Await(`text("box") !== said`)
	var width float64
	require.NoError(t, json.Unmarshal(p.Eval(`canvas.clientWidth`), &width))
	pixel := (right - left) / (width + 24)
	l, b, r, up := box(t, p)
	require.InDelta(t, left+300*pixel, l, pixel)
	require.InDelta(t, right+300*pixel, r, pixel)
	require.InDelta(t, bottom-10*pixel, b, pixel)
	require.InDelta(t, top-10*pixel, up, pixel)
	p.Eval(`said = text("box"); mouse("pointermove", 100, 100)`) // not pressed any more

	// The wheel and the buttons zoom, and the smaller the box the less comes.
	p.Eval(`for (let i = 0; i < 6; i++) wheel(-100)`)
	p.Await(`text("box") !== said && number("saved") > 60 && number("drawn") < 150`)
	l, b, r, up = box(t, p)
	p.Eval(`said = text("box"); document.getElementById("out").click()`)
	p.Await(`text("box") !== said`)
	l2, b2, r2, up2 := box(t, p)
	require.InDelta(t, (r-l)*1.6, r2-l2, pixel)
	require.InDelta(t, (l+r)/2, (l2+r2)/2, pixel)
	require.InDelta(t, (up-b)*1.6, up2-b2, pixel)
	p.Eval(`document.getElementById("home").click()`)
	p.Await(`number("drawn") > 200`)
	p.Screenshot(filepath.Join(t.ArtifactDir(), "map.png"))
}

// What moves out of the box vanishes, as soon as the gateway says so.
func TestWhatLeavesTheBoxVanishes(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	pool := storagetest.New(t)
	url, _ := start(t, pool, "0", 1) // a train, which stays
	p := show(t, url)
	p.Await(`number("drawn") === 1 && pixels("train") > 0`)
	require.JSONEq(t, `0`, string(p.Eval(`pixels("plane")`)))
	// No name of a town lies on the first place. On a slow machine the object could be
	// silent for too long: it is published until it is seen.
	until := func(at point, js string) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; {
			publish(t, pool, "probe", "plane", at)
			if string(p.Eval(js)) == "true" {
				return
			}
			require.True(t, time.Now().Before(deadline), "%s\n%s", js, p.Eval(`[text("panel"), pixels("plane"), text("error")]`))
		}
	}
	until(point{8.1, 46.55}, `number("drawn") === 2 && number("planes") === 1 && pixels("plane") > 20`)
	require.JSONEq(t, `0`, string(p.Eval(`number("left")`)))
	until(point{3, 44}, `number("left") === 1 && number("drawn") === 1 && pixels("plane") === 0`)
	until(point{7.5, 46.9}, `number("planes") === 1`)
	p.Await(`number("planes") === 0`) // no more is heard of it
	require.JSONEq(t, `1`, string(p.Eval(`number("left")`)))
}

func TestTheProjectionChanges(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	url, _ := start(t, storagetest.New(t), "0", 300)
	p := show(t, url)
	p.Await(`number("drawn") > 200`)
	for _, c := range []struct {
		code     int
		lon, lat float64 // where Switzerland is, in the units of the projection
		size     float64 // of it
	}{
		{3857, 915_000, 5_916_000, 600_000}, {4326, 8.2, 46.8, 6}, {32632, 440_000, 5_180_000, 500_000},
		{3035, 4_180_000, 2_630_000, 500_000}, {2154, 1_050_000, 6_650_000, 500_000}, {2056, 2_660_000, 1_190_000, 500_000},
	} {
		code := fmt.Sprint(c.code)
		p.Eval(`said = text("box"); (s => { s.value = "` + code + `"; s.dispatchEvent(new Event("change")) })(document.getElementById("projection"))`)
		p.Await(`text("projected") === "PROJECTION epsg:` + code + `" && text("box") !== said`)
		left, bottom, right, top := box(t, p)
		require.True(t, left < c.lon && c.lon < right && bottom < c.lat && c.lat < top, "%d: %v %v %v %v", c.code, left, bottom, right, top)
		require.Less(t, right-left, 3*c.size, code)
		p.Await(`number("drawn") > 150 && pixels("train") > 50 && pixels("lake") > 500 && pixels("land") > 5000`)
		require.JSONEq(t, `""`, string(p.Eval(`text("error")`)))
	}
	// Of two in a row, the second counts.
	p.Eval(`said = text("box"); for (const code of ["4326", "3857"]) (s => { s.value = code; s.dispatchEvent(new Event("change")) })(document.getElementById("projection"))`)
	p.Await(`text("box") !== said && number("drawn") > 150`)
	left, _, _, _ := box(t, p)
	require.Greater(t, left, 100_000.0)
}

// The page comes back when the gateway does, and to the same box.
func TestThePageComesBack(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	pool, port := storagetest.New(t), storagetest.FreePort(t)
	url, stop := start(t, pool, port, 300)
	p := show(t, url)
	p.Eval(`said = text("box"); document.getElementById("in").click()`)
	p.Await(`text("box") !== said && number("drawn") > 20`)
	before := string(p.Eval(`text("box")`))
	stop()
	p.Await(`text("state") === "connecting" && number("drawn") === 0`)
	start(t, pool, port, 300)
	p.Await(`text("state") === "connected" && number("drawn") > 20`)
	require.Equal(t, before, string(p.Eval(`text("box")`)))
}
