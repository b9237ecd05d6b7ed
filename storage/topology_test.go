package storage_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// works uses every face of a pool.
func works(t *testing.T, pool *storage.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, pool.Ping(ctx))
	for i := range 30 { // of a cluster, every server
		key := fmt.Sprint("works", i)
		require.NoError(t, pool.Redis().Set(ctx, key, "1", time.Minute).Err())
		require.Equal(t, "1", pool.Async().Get(ctx, key).Val())
		ended := make(outcomes, 1)
		redisio.Of(pool).Writer().Push(ctx, key+"l", []byte("x"), ended.done)
		require.NoError(t, (<-ended).err)
		require.NoError(t, redisio.Of(pool).Blocking(ctx, func(ctx context.Context, c redis.UniversalClient) error {
			got, err := c.BLPop(ctx, time.Second, key+"l").Result()
			require.Equal(t, []string{key + "l", "x"}, got)
			return err
		}))
	}
	require.NoError(t, redisio.NewClock(nil).Sync(ctx, pool.Redis()))
	require.NoError(t, newLog(t, pool).Append(ctx, []byte("x")))
	load, _ := loads("one", nil)
	_, err := newCache(t, pool, storage.CacheOptions{MaxLocal: 10}).Get(ctx, "works", load)
	require.NoError(t, err)
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "helio") // a socket's path is short
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	storagetest.Start(t, "--unixsocket", dir+"/s", "--unixsocketperm", "700")
	works(t, storagetest.Open(t, storage.Config{URL: "unix://" + dir + "/s?db=2"}))
}

func TestACLUser(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--user", "default", "off", "--user", "alice", "on", ">s3cr3t", "~*", "&*", "+@all")
	works(t, storagetest.Open(t, storage.Config{URL: "redis://alice:s3cr3t@" + srv.Addr() + "/1"}))

	pool := storagetest.Open(t, storage.Config{URL: "redis://alice:wr0ng@" + srv.Addr()})
	err := pool.Ping(t.Context())
	require.True(t, redis.IsAuthError(err) || strings.Contains(err.Error(), "WRONGPASS"), "%v", err)
	require.NotContains(t, err.Error(), "wr0ng")
	ended := make(outcomes, 1)
	redisio.Of(pool).Writer().Push(t.Context(), "l", nil, ended.done)
	err = (<-ended).err
	require.ErrorContains(t, err, "WRONGPASS", "at once: waiting does not mend it")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	cert, key, ca := certificate(t, srv)
	port := storagetest.FreePort(t)
	storagetest.Start(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	addr := net.JoinHostPort("localhost", port)

	works(t, storagetest.Open(t, storage.Config{URL: "rediss://" + addr + "?skip_verify=true"}))
	works(t, storagetest.Open(t, storage.Config{URL: "rediss://" + addr, Redis: redis.UniversalOptions{TLSConfig: &tls.Config{RootCAs: ca}}}))
	pool := storagetest.Open(t, storage.Config{URL: "rediss://" + addr})
	require.ErrorContains(t, pool.Ping(t.Context()), "certificate")
}

// certificate writes a self-signed certificate for localhost.
func certificate(t *testing.T, srv *storagetest.Server) (certFile, keyFile string, ca *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = srv.File("cert.pem"), srv.File("key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(certFile, certPEM, 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	ca = x509.NewCertPool()
	require.True(t, ca.AppendCertsFromPEM(certPEM))
	return certFile, keyFile, ca
}

func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := storagetest.StartCluster(t)
	works(t, storagetest.Open(t, cluster.Config()))
	works(t, storagetest.Open(t, storage.Config{URL: "redis+cluster://" + cluster.Nodes[1].Addr()}))

	host := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{cluster.Nodes[0].Addr()}, ReadTimeout: -1})
	defer host.Close()
	pool, err := storage.New(host, storage.Config{})
	require.NoError(t, err)
	works(t, pool)
	require.NoError(t, pool.Close())
	require.NoError(t, host.Ping(t.Context()).Err())
}

func TestSentinel(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	sentinel := storagetest.StartSentinel(t)
	pool := storagetest.Open(t, sentinel.Config())
	works(t, pool)
	var addrs []string
	for _, s := range sentinel.Sentinels {
		addrs = append(addrs, s.Addr())
	}
	byURL := storagetest.Open(t, storage.Config{URL: "redis+sentinel://" + strings.Join(addrs, ",") + "/primary/1"})
	works(t, byURL)
	host := redis.NewFailoverClient(&redis.FailoverOptions{SentinelAddrs: addrs, MasterName: "primary"})
	defer host.Close()
	hosted, err := storage.New(host, storage.Config{})
	require.NoError(t, err)
	works(t, hosted)

	t.Run("failover", func(t *testing.T) { // all pools find the next primary
		storagetest.Long(t)
		old := sentinel.Primary()
		old.Kill()
		require.Eventually(t, func() bool { return sentinel.Primary() != old }, 30*time.Second, 50*time.Millisecond)
		for _, p := range []*storage.Pool{pool, byURL, hosted} {
			ended := make(outcomes, 1)
			redisio.Of(p).Writer().Push(t.Context(), "after", []byte("x"), ended.done)
			require.NoError(t, (<-ended).err)
			require.Eventually(t, func() bool { return p.Ping(t.Context()) == nil }, 20*time.Second, 10*time.Millisecond)
			works(t, p)
		}
	})
	require.NoError(t, hosted.Close())
}

// outcome is how a write ended.
type outcome struct {
	n   int64
	err error
}

// outcomes collects the ends of writes.
type outcomes chan outcome

func (o outcomes) done(n int64, err error) { o <- outcome{n, err} }
