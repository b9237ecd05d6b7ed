package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"image"
	"image/color"
	_ "image/jpeg" // registers the format
	"image/png"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// album is a folder of pictures and one of their thumbnails.
type album struct{ from, to string }

// width is that of a thumbnail, in pixels.
const width = 160

var errBroken = errors.New("not a picture")

func isPicture(name string) bool {
	return slices.Contains([]string{".png", ".jpg", ".jpeg"}, strings.ToLower(filepath.Ext(name)))
}

func (a album) thumbnail(name string) string { return filepath.Join(a.to, name+".png") }

// news returns up to limit pictures that are newer than their thumbnails, and an id of them.
func (a album) news(limit int) (names []string, id string, err error) {
	entries, err := os.ReadDir(a.from)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.New()
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !isPicture(e.Name()) {
			continue // or removed meanwhile
		}
		made, err := os.Stat(a.thumbnail(e.Name()))
		if err == nil && !made.ModTime().Before(info.ModTime()) {
			continue
		}
		if names = append(names, e.Name()); len(names) > limit {
			names = names[:limit]
			break
		}
		fmt.Fprintln(sum, e.Name(), info.ModTime().UnixNano())
	}
	return names, hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

// shrink writes the thumbnail of a picture.
func (a album) shrink(name string) error {
	f, err := os.Open(filepath.Join(a.from, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	defer f.Close()
	picture, _, err := image.Decode(f)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", name, errBroken, err)
	}
	return a.write(name+".png", func(f *os.File) error { return png.Encode(f, shrunk(picture)) })
}

// shrunk returns a picture in the width of thumbnails, each pixel the mean of those it is
// made of.
func shrunk(p image.Image) image.Image {
	b := p.Bounds()
	if b.Dx() <= width {
		return p
	}
	height := max(1, b.Dy()*width/b.Dx())
	out := image.NewRGBA64(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			x0, x1 := b.Min.X+x*b.Dx()/width, b.Min.X+(x+1)*b.Dx()/width
			y0, y1 := b.Min.Y+y*b.Dy()/height, b.Min.Y+(y+1)*b.Dy()/height
			var sum [4]uint64
			n := uint64(0)
			for v := y0; v < max(y1, y0+1); v++ {
				for u := x0; u < x1; u++ {
					r, g, b, a := p.At(u, v).RGBA()
					sum[0], sum[1], sum[2], sum[3] = sum[0]+uint64(r), sum[1]+uint64(g), sum[2]+uint64(b), sum[3]+uint64(a)
					n++
				}
			}
			out.SetRGBA64(x, y, color.RGBA64{uint16(sum[0] / n), uint16(sum[1] / n), uint16(sum[2] / n), uint16(sum[3] / n)})
		}
	}
	return out
}

// writeIndex writes the page, and returns how many thumbnails it shows.
func (a album) writeIndex() (int, error) {
	entries, err := os.ReadDir(a.to)
	if err != nil {
		return 0, err
	}
	var page strings.Builder
	page.WriteString("<!DOCTYPE html>\n<title>Pictures</title>\n")
	n := 0
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".png")
		if !ok || !isPicture(name) {
			continue
		}
		fmt.Fprintf(&page, "<figure><img src=%q><figcaption>%s</figcaption></figure>\n", url.PathEscape(e.Name()), html.EscapeString(name))
		n++
	}
	return n, a.write("index.html", func(f *os.File) error {
		_, err := f.WriteString(page.String())
		return err
	})
}

// write makes a file complete or not at all.
func (a album) write(name string, fill func(f *os.File) error) error {
	f, err := os.CreateTemp(a.to, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // unless it was renamed
	if err := errors.Join(fill(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(a.to, name))
}
