package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/chromium"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// certificate makes one for localhost that trusts itself, and returns its files.
func certificate(t *testing.T) (key, cert string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return write("key.pem", "PRIVATE KEY", secret), write("cert.pem", "CERTIFICATE", der), roots
}

func TestTLS(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	key, cert, roots := certificate(t)
	g := start(t, "-key", key, "-cert", cert)
	require.Regexp(t, "^wss://localhost:", g.ws)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	conn, _, err := websocket.Dial(t.Context(), g.ws, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	require.NoError(t, err)
	defer conn.CloseNow()
	b := browser{t, conn}
	b.gets("websocket", `{"status": "open"}`)
	b.send("PING")
	b.gets("websocket", `"PONG"`)

	p := chromium.Start(t)
	p.Navigate(g.http)
	p.Await(count("clock") + " >= 2")
}
