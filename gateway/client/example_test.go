package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/heliograph/heliograph/gateway/client"
)

// The module is served beside the gateway. The types are for editors and tsc.
func ExampleHandler() {
	mux := http.NewServeMux()
	mux.Handle("/heliograph.js", client.Handler())
	mux.Handle("/heliograph.d.ts", client.Handler())

	for _, path := range []string{"/heliograph.js", "/heliograph.d.ts"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Println(w.Code, w.Header().Get("Content-Type"))
	}
	// Output:
	// 200 text/javascript; charset=utf-8
	// 200 text/plain; charset=utf-8
}
