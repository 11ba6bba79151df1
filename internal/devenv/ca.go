package devenv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"golang.org/x/net/netutil"
)

// CAConfig says where the CA keeps its root and how it reaches the edge.
type CAConfig struct {
	// Dir holds root.pem and root-key.pem, and is made if it is not there. Only
	// one process may use it at a time. Required.
	Dir string

	// HTTPPort and TLSPort are where HTTP-01 and TLS-ALPN-01 are validated, on
	// whatever address the DNS gives. Required.
	HTTPPort int
	TLSPort  int

	// DNSAddr is the resolver, "host:port", asked over TCP. Required.
	DNSAddr string

	// NonceReject is the share, in percent, of good nonces that are refused with
	// badNonce, as a client must expect (RFC 8555 section 6.5): 0 means Pebble's
	// own 5, a negative number none. At most 99.
	NonceReject int

	// Logger takes what Pebble says, at debug level. Required.
	Logger *slog.Logger
}

func (c CAConfig) validate() error {
	if c.Dir == "" {
		return errors.New("CA: Dir is required")
	}
	for key, port := range map[string]int{"HTTPPort": c.HTTPPort, "TLSPort": c.TLSPort} {
		if port < 1 || port > 65535 {
			return fmt.Errorf("CA: %s must be 1 to 65535, not %d", key, port)
		}
	}
	if _, _, err := net.SplitHostPort(c.DNSAddr); err != nil {
		return fmt.Errorf("CA: DNSAddr: %w", err)
	}
	if c.NonceReject > 99 {
		return fmt.Errorf("CA: NonceReject must be at most 99, not %d", c.NonceReject)
	}
	if c.Logger == nil {
		return errors.New("CA: Logger is required")
	}
	return nil
}

// CA is an ACME certificate authority (RFC 8555, RFC 9773) on a loopback
// address. It validates HTTP-01 and TLS-ALPN-01 for real.
//
// It is Pebble under a root of our own. Pebble forgets accounts, orders and its
// own CA when the process ends, as its clients must be ready for; but every
// chain that it ever issued, leaf and intermediate, verifies against the root
// in [CAConfig.Dir] until it expires.
type CA struct {
	root     *root
	rootPath string
	listener net.Listener
	server   *http.Server
	served   chan struct{} // closed when the server's accept loop has ended
	orders   atomic.Int64
}

// Paths of the CA's HTTPS listener that are not Pebble's own.
const statsPath = "/stats"

// newOrderPath is Pebble's, which it does not export.
const newOrderPath = "/order-plz"

const maxACMEBody = 1 << 20

// NewCA starts a CA on a free port of 127.0.0.1. The caller closes it.
func NewCA(cfg CAConfig) (*CA, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r, err := openRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cert, err := r.serverCertificate()
	if err != nil {
		return nil, fmt.Errorf("certify CA listener: %w", err)
	}
	pebble, err := newPebble(cfg, r)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for ACME: %w", err)
	}
	c := &CA{
		root:     r,
		rootPath: filepath.Join(cfg.Dir, rootFile),
		listener: l,
		served:   make(chan struct{}),
	}
	c.server = &http.Server{
		Handler:           http.MaxBytesHandler(c.handler(pebble), maxACMEBody),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	go c.serve(cfg.Logger)
	return c, nil
}

// DirectoryURL returns the URL of the ACME directory. Its port is another one
// at each start.
func (c *CA) DirectoryURL() string {
	return "https://" + c.listener.Addr().String() + wfe.DirectoryPath
}

// StatsURL returns the URL of {"orders":N}, N as [CA.Orders] counts, for a test
// in another process.
func (c *CA) StatsURL() string {
	return "https://" + c.listener.Addr().String() + statsPath
}

// RootPath returns the path of the root certificate, in PEM.
func (c *CA) RootPath() string { return c.rootPath }

// RootPEM returns the root certificate. The caller must not change it.
func (c *CA) RootPEM() []byte { return c.root.pem }

// Pool returns a new pool with the root alone. It verifies the certificates
// that the CA issued and the CA's own listener.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.root.cert)
	return pool
}

// Orders returns how many orders the CA has accepted since it started. A
// request refused, as with badNonce, is not an order.
func (c *CA) Orders() int64 { return c.orders.Load() }

// Close ends the listener and its connections. It waits for the requests under
// way, but not for long. One goroutine of Pebble's stays: see the package
// comment.
func (c *CA) Close() error {
	err := closeServer(c.server)
	<-c.served
	return err
}

func (c *CA) serve(logger *slog.Logger) {
	defer close(c.served)
	err := c.server.ServeTLS(netutil.LimitListener(c.listener, maxConns), "", "")
	if !errors.Is(err, http.ErrServerClosed) {
		logger.Error("dev CA stopped", "err", err)
	}
}

// handler puts our own paths and the order counter in front of Pebble.
func (c *CA) handler(pebble http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", pebble)
	mux.HandleFunc("POST "+newOrderPath, func(w http.ResponseWriter, r *http.Request) {
		sw := &statusWriter{ResponseWriter: w}
		pebble.ServeHTTP(sw, r)
		if sw.status == http.StatusCreated {
			c.orders.Add(1)
		}
	})
	mux.HandleFunc("GET "+statsPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		writeJSON(w, map[string]int64{"orders": c.Orders()})
	})
	return mux
}

// statusWriter remembers the status that the handler sent.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// newPebble wires Pebble's parts together and puts its issuing CA under r.
//
// Pebble makes its own root and cannot be given one, but it hands out the
// certificate of its issuing CA by reference, and looks at that one both when
// it signs a leaf and when it writes a chain. So we certify the same name and
// key again, under r, and put that in place before anything is served.
func newPebble(cfg CAConfig, r *root) (http.Handler, error) {
	logger := log.New(pebbleLog{cfg.Logger}, "", 0)
	store := db.NewMemoryStore()
	profiles := map[string]ca.Profile{"default": {Description: "90 days", ValidityPeriod: 90 * 24 * 3600}}
	issuer := ca.New(logger, store, "", "ecdsa", 0, 1, profiles)
	intermediate := issuer.GetIntermediateCert(0)
	signed, err := r.signIntermediate(intermediate.Cert)
	if err != nil {
		return nil, fmt.Errorf("certify Pebble's CA: %w", err)
	}
	intermediate.Cert, intermediate.DER = signed, signed.Raw

	restore, err := setPebbleEnv(cfg)
	if err != nil {
		return nil, err
	}
	validator := va.New(logger, cfg.HTTPPort, cfg.TLSPort, false, cfg.DNSAddr, store)
	front := wfe.New(logger, store, validator, issuer, []string{"ca.localhost"}, false, false, 1, 1)
	if err := restore(); err != nil {
		return nil, err
	}
	return front.Handler(), nil
}

var pebbleEnvMu sync.Mutex // held from setPebbleEnv until its restore

// setPebbleEnv sets what Pebble's constructors read from the environment, and
// returns a function that puts all back. They read nothing later. What we do
// not set is emptied, so that a stray PEBBLE_VA_ALWAYS_VALID in somebody's
// shell does not switch validation off.
func setPebbleEnv(cfg CAConfig) (restore func() error, err error) {
	reject := ""
	if cfg.NonceReject != 0 {
		reject = strconv.Itoa(max(cfg.NonceReject, 0))
	}
	pebbleEnvMu.Lock()
	var undo []func() error
	restore = func() error {
		defer pebbleEnvMu.Unlock()
		var errs []error
		for _, f := range undo {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	for key, value := range map[string]string{
		"PEBBLE_VA_NOSLEEP":          "1",
		"PEBBLE_VA_SLEEPTIME":        "",
		"PEBBLE_VA_ALWAYS_VALID":     "",
		"PEBBLE_WFE_NONCEREJECT":     reject,
		"PEBBLE_WFE_ORDERS_PER_PAGE": "",
		"PEBBLE_AUTHZREUSE":          "",
	} {
		if old, ok := os.LookupEnv(key); ok {
			undo = append(undo, func() error { return os.Setenv(key, old) })
		} else {
			undo = append(undo, func() error { return os.Unsetenv(key) })
		}
		if err := os.Setenv(key, value); err != nil {
			return nil, errors.Join(fmt.Errorf("set environment for Pebble: %w", err), restore())
		}
	}
	return restore, nil
}

// pebbleLog passes what Pebble logs on: each Write is one entry.
type pebbleLog struct{ logger *slog.Logger }

func (l pebbleLog) Write(p []byte) (int, error) {
	l.logger.Debug("pebble", "text", strings.TrimSpace(string(p)))
	return len(p), nil
}

// closeServer shuts s down, and after closeGrace cuts what is left.
func closeServer(s *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return s.Close()
}

// writeJSON sends v. The only error left is the client's going away.
func writeJSON(w http.ResponseWriter, v any) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}
