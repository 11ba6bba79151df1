package devenv

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
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

	// Profiles are what a client may order. One that does not choose gets the
	// first. None means one, "default", of 90 days.
	Profiles []Profile

	// ExternalAccount must be bound by new accounts (RFC 8555 section 7.3.4). Nil
	// means that anybody may have an account.
	ExternalAccount *ExternalAccount

	// FreshAuthz has every order validated. Otherwise half of the orders for a
	// name that the account has shown to own are ready at once.
	FreshAuthz bool

	// NoRetryAfter leaves polling to the client's own interval. Otherwise the CA
	// asks for a second between two looks at an order.
	NoRetryAfter bool

	// Faults are there from the first request on. See [CA.Inject].
	Faults []Fault

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
	if err := validateProfiles(c.Profiles); err != nil {
		return err
	}
	if err := c.ExternalAccount.validate(); err != nil {
		return err
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
	cancel   func()        // ends the context of every request
	gate     *gate
	prefix   string // of paths, unique to this CA; they are served without it too
}

// Paths of the CA's HTTPS listener that are not Pebble's own.
const statsPath = "/stats"

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
	g, err := newPebble(cfg, r)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for ACME: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.ctx = ctx
	c := &CA{
		root:     r,
		rootPath: filepath.Join(cfg.Dir, rootFile),
		listener: l,
		served:   make(chan struct{}),
		cancel:   cancel,
		gate:     g,
		prefix:   "/" + strings.ToLower(rand.Text()[:8]),
	}
	c.server = c.newServer(ctx, cfg.Logger, cert)
	go c.serve(cfg.Logger)
	return c, nil
}

// newServer makes a server whose requests end with ctx.
func (c *CA) newServer(ctx context.Context, logger *slog.Logger, cert tls.Certificate) *http.Server {
	return &http.Server{
		Handler:           http.MaxBytesHandler(c.handler(), maxACMEBody),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// DirectoryURL returns the URL of the ACME directory. It is another one at each
// start, and not by its port alone: clients keep a directory by its URL, and in
// one process two CAs may have the same port one after the other.
func (c *CA) DirectoryURL() string {
	return "https://" + c.listener.Addr().String() + c.prefix + wfe.DirectoryPath
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
func (c *CA) Orders() int64 { return int64(len(c.gate.journal.accepted())) }

// NewOrders returns all requests for an order, accepted or not, oldest first.
// One refused with badNonce is not among them.
func (c *CA) NewOrders() []NewOrder { return c.gate.journal.newOrders() }

// Issued returns the certificates issued since the start, whether or not
// somebody has fetched them, in the order of their orders.
func (c *CA) Issued() []Issued { return c.gate.journal.issued() }

// Inject puts f behind the faults that are there: the first to answer a request
// wins. It is in force for requests that come after Inject has returned, until
// remove is called. Nonces are refused before any fault is asked.
func (c *CA) Inject(f Fault) (remove func()) { return c.gate.inject(f) }

// SetRenewalInfo says when leaf shall be renewed, or, if leaf is nil, all
// certificates that have no answer of their own. Nil takes what was set away:
// Pebble suggests two days around two thirds of a certificate's life.
func (c *CA) SetRenewalInfo(leaf *x509.Certificate, info *RenewalInfo) {
	c.gate.renewal.set(leaf, info)
}

// Close ends the listener and its connections. It ends the context of the
// requests under way and waits for them: those that take no notice are given
// two seconds until their connection is cut. One goroutine of Pebble's stays:
// see the package comment.
func (c *CA) Close() error {
	c.cancel()
	err := closeServer(c.server, closeGrace)
	<-c.served
	c.gate.busy.refuse()
	c.gate.busy.wait()
	return err
}

func (c *CA) serve(logger *slog.Logger) {
	defer close(c.served)
	err := c.server.ServeTLS(netutil.LimitListener(c.listener, maxConns), "", "")
	if !errors.Is(err, http.ErrServerClosed) {
		logger.Error("dev CA stopped", "err", err)
	}
}

// handler puts our own paths in front of Pebble.
func (c *CA) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", c.gate)
	mux.HandleFunc("GET "+statsPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		writeJSON(w, map[string]int64{"orders": c.Orders()})
	})
	mux.Handle(c.prefix+"/", http.StripPrefix(c.prefix, mux))
	return mux
}

// newPebble wires Pebble's parts together and puts its issuing CA under r.
//
// Pebble makes its own root and cannot be given one, but it hands out the
// certificate of its issuing CA by reference, and looks at that one both when
// it signs a leaf and when it writes a chain. So we certify the same name and
// key again, under r, and put that in place before anything is served.
func newPebble(cfg CAConfig, r *root) (*gate, error) {
	logger := log.New(pebbleLog{cfg.Logger}, "", 0)
	store := db.NewMemoryStore()
	if a := cfg.ExternalAccount; a != nil {
		if err := store.AddExternalAccountKeyByID(a.KeyID, a.MACKey); err != nil {
			return nil, fmt.Errorf("add external account: %w", err)
		}
	}
	profiles := cfg.Profiles
	if len(profiles) == 0 {
		profiles = []Profile{{Name: "default", Description: "90 days", Lifetime: 90 * 24 * time.Hour}}
	}
	issuer := ca.New(logger, store, "", "ecdsa", 0, 1, pebbleProfiles(profiles))
	intermediate := issuer.GetIntermediateCert(0)
	signed, err := r.signIntermediate(intermediate.Cert)
	if err != nil {
		return nil, fmt.Errorf("certify Pebble's CA: %w", err)
	}
	intermediate.Cert, intermediate.DER = signed, signed.Raw
	front, err := newFrontEnd(cfg, store, issuer, logger)
	if err != nil {
		return nil, err
	}
	g := &gate{
		pebble: front.Handler(), store: store,
		nonceReject: max(cfg.NonceReject, 0), defaultProfile: profiles[0].Name, freshAuthz: cfg.FreshAuthz,
	}
	if cfg.NonceReject == 0 {
		g.nonceReject = pebbleNonceReject
	}
	for _, f := range cfg.Faults {
		g.inject(f)
	}
	return g, nil
}

// newFrontEnd makes the part of Pebble that answers, over the one that
// validates.
func newFrontEnd(cfg CAConfig, store *db.MemoryStore, issuer *ca.CAImpl, logger *log.Logger) (wfe.WebFrontEndImpl, error) {
	retryAfter := 1
	if cfg.NoRetryAfter {
		retryAfter = 0
	}
	restore, err := setPebbleEnv()
	if err != nil {
		return wfe.WebFrontEndImpl{}, err
	}
	validator := va.New(logger, cfg.HTTPPort, cfg.TLSPort, false, cfg.DNSAddr, store)
	front := wfe.New(logger, store, validator, issuer, []string{"ca.localhost"}, false, cfg.ExternalAccount != nil, retryAfter, retryAfter)
	return front, restore()
}

// pebbleLog passes what Pebble logs on: each Write is one entry.
type pebbleLog struct{ logger *slog.Logger }

func (l pebbleLog) Write(p []byte) (int, error) {
	l.logger.Debug("pebble", "text", strings.TrimSpace(string(p)))
	return len(p), nil
}

// closeServer shuts s down, and after grace cuts what is left.
func closeServer(s *http.Server, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
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
