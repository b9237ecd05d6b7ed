package main

import (
	"embed"
	"net/http"
)

// The page is index.html, which loads the rest. map.js is where to begin.
//
//go:embed index.html style.css map.js view.js draw.js
var files embed.FS

// page serves the page. It loads nothing from other sites, and tells browsers to
// enforce that.
func page() http.Handler {
	serve := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws: wss:; img-src data:; frame-ancestors 'none'")
		w.Header().Set("Cache-Control", "no-cache") // the next version may run on the same port
		serve.ServeHTTP(w, r)
	})
}
