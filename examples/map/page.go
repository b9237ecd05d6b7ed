package main

import (
	"embed"
	"net/http"
)

// The page is index.html, which loads the rest. map.js is where to begin.
//
//go:embed index.html style.css map.js view.js draw.js
var files embed.FS

// page serves it. It loads nothing from elsewhere, and a browser sees to that.
func page() http.Handler {
	serve := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws: wss:; img-src data:; frame-ancestors 'none'")
		w.Header().Set("Cache-Control", "no-cache") // another version may be started here
		serve.ServeHTTP(w, r)
	})
}
