package client

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

//go:embed heliograph.js heliograph.d.ts
var files embed.FS

// file is a file as it is served.
type file struct {
	kind         string // its media type
	plain, small []byte // small is gzipped
	tag          string
}

// served are the files by their names. The module is sent without its comments and
// indentation.
var served = map[string]file{
	"heliograph.js":   newFile("heliograph.js", "text/javascript; charset=utf-8", stripped),
	"heliograph.d.ts": newFile("heliograph.d.ts", "text/plain; charset=utf-8", slices.Clone),
}

func newFile(name, kind string, convert func([]byte) []byte) file {
	data, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	data = convert(data)
	var small bytes.Buffer
	w, _ := gzip.NewWriterLevel(&small, gzip.BestCompression)
	_, _ = w.Write(data)
	_ = w.Close()
	sum := sha256.Sum256(data)
	return file{kind: kind, plain: data, small: small.Bytes(), tag: hex.EncodeToString(sum[:8])}
}

// stripped returns JavaScript without the lines that are comments, and without
// indentation. No string of the module spans lines.
func stripped(js []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(js) {
		line = bytes.TrimLeft(line, " ")
		if len(line) > 1 && !bytes.HasPrefix(line, []byte("//")) {
			out.Write(line)
		}
	}
	return out.Bytes()
}

// Handler serves the module heliograph.js, and heliograph.d.ts where the path of the
// request ends with that name. Browsers keep both and ask each time whether they have
// changed, by their ETag. Other sites may import the module.
func Handler() http.Handler { return http.HandlerFunc(serve) }

func serve(w http.ResponseWriter, r *http.Request) {
	f, ok := served[path.Base(r.URL.Path)]
	if !ok {
		f = served["heliograph.js"]
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "no-cache")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept-Encoding")
	data, tag := f.plain, f.tag
	if acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		data, tag = f.small, tag+"-gzip"
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func acceptsGzip(r *http.Request) bool {
	if r.Header.Get("Range") != "" {
		return false
	}
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		weight = strings.ReplaceAll(weight, " ", "")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") && weight != "q=0" && weight != "q=0.0" {
			return true
		}
	}
	return false
}
