package certs

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/shingle-proxy/shingle"
)

// Config is what a [Manager] is made of. Blobs, MasterKey, Permission, CAs and
// TermsAgreed are required; a zero elsewhere takes the default.
type Config struct {
	// Blobs keeps certificates, account and challenges. The whole fleet shares it.
	Blobs shingle.Blobs
	// Near, when set, is read in place of Blobs by what serves visitors: a replica of
	// it, which may be late.
	Near Reader
	// Copy, when set, keeps what visitors are served by on this machine: it is read
	// when Blobs does not answer, and kept in step while it does. No other process
	// uses it. It may lose what begins with [CopiedCertificates].
	Copy shingle.Blobs
	// MasterKey wraps the data keys that seal what is secret in Blobs.
	MasterKey shingle.MasterKey
	// Lacking, when set, returns which live processes of the fleet cannot use a master
	// key: while there are some, a new one waits. Default: this process is the only one.
	Lacking func(ctx context.Context, masterKey string) (processes []string, err error)
	// Sealed are the places beyond those of certificates for which [Manager.Seal]
	// is used.
	Sealed []SealedPlace
	// Permission is asked before each order, and never before serving.
	Permission shingle.Permission

	// CAs are the certificate authorities, in the order in which they are tried.
	CAs []CA
	// Email is the contact of the account. Default: none.
	Email string
	// TermsAgreed says that the operator agrees to the CA's terms of service. It
	// must be true: no CA issues without.
	TermsAgreed bool

	// Roots are what visitors are taken to trust, to warn of an uploaded chain that
	// leads nowhere. Default: the roots of this machine.
	Roots *x509.CertPool

	// DNS01 is the zone in which DNS-01 validations are answered. Default: none, so
	// that there are no certificates for wildcards.
	DNS01 ChallengeZone

	// Methods, when set, is asked before an order which validation methods the CAA
	// records of a host leave to the CA with that directory; nil: all, or not known.
	Methods func(ctx context.Context, host, directory string) []string

	// Domains, when set, is followed by the worker: a domain that appears gets its
	// certificate at once, one that goes loses it. Else it is asked only whose a domain is, before a
	// DNS-01 validation.
	Domains shingle.DomainStore
	// Events, when set, hears of certificates that were issued and of attempts
	// that failed.
	Events shingle.Events
	// Wake, when it receives, makes the worker look for changes and due work at
	// once; otherwise it does so every Poll.
	Wake <-chan struct{}
	// Poll is how often the worker looks into the store. Default: 5 s.
	Poll time.Duration
	// News is how often a process asks for news of what others have issued, and so
	// how long it may serve what was replaced. Default: 30 s, or six times Poll when that is less.
	News time.Duration
	// LeaseTime is how long a process may stand still before others take its work
	// over. Default: 15 s.
	LeaseTime time.Duration

	// Instance is a name that no other live process has, while the processes that
	// ran here before had the same: a lease that such a one left is taken over at
	// once. Default: a name that nobody ever had.
	Instance string

	// HandshakeWait is how long Certificate waits for store and CA together.
	// Default: 10 s.
	HandshakeWait time.Duration
	// IssueTimeout bounds one issuance, from its turn to the stored certificate.
	// Default: 3 min.
	IssueTimeout time.Duration
	// RetryDelay is the wait after the first failed issuance for a host. Each
	// further failure in a row multiplies it by ten, up to a day. Default: 1 min.
	RetryDelay time.Duration
	// RSA makes RSA keys of 2048 bits instead of ECDSA P-256.
	RSA bool

	// TicketRotation is the age at which the newest session ticket key gets a
	// successor. Default: 12 h.
	TicketRotation time.Duration
	// TicketPoll is how often the fleet's ticket keys are read. A new key seals
	// after two of them; all processes must have the same. Default: 5 min.
	TicketPoll time.Duration

	// MaxIssuing is how many issuances run at once. Default: 8.
	MaxIssuing int
	// MaxWaiting is how many issuances run or wait for their turn. A host that
	// finds no place is refused with [shingle.ErrLimited]. Default: 1000.
	MaxWaiting int
	// CacheBytes bounds the memory for certificates: it is 2.2 KB each, leaf and
	// ECDSA key included, and intermediates are shared. Default: 64 MiB, which is
	// 30,000 certificates and fits a machine of 512 MiB. At least 1 MiB.
	CacheBytes int64

	// Unreadable is told of records that cannot be read; nil: nobody is.
	Unreadable *shingle.Unreadable
	// Logger takes a line for the begin and the end of each issuance. Default: none.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Reader is the part of [shingle.Blobs] that serving needs.
type Reader interface {
	Get(ctx context.Context, key string) (shingle.Blob, error)
}

// validate checks what is required and fills in the defaults.
func (c *Config) validate() error {
	switch {
	case c.Blobs == nil || c.MasterKey == nil || c.Permission == nil:
		return invalid("", "Blobs, MasterKey and Permission are required")
	case !c.TermsAgreed:
		return invalid("TermsAgreed", "the terms of the certificate authority must be agreed to")
	case c.Poll < 0 || c.News < 0 || c.LeaseTime < 0:
		return invalid("", "Poll, News and LeaseTime cannot be negative")
	case c.HandshakeWait < 0 || c.IssueTimeout < 0 || c.RetryDelay < 0:
		return invalid("", "HandshakeWait, IssueTimeout and RetryDelay cannot be negative")
	case c.TicketRotation < 0 || c.TicketPoll < 0:
		return invalid("", "TicketRotation and TicketPoll cannot be negative")
	case c.MaxIssuing < 0 || c.MaxWaiting < 0:
		return invalid("", "MaxIssuing and MaxWaiting cannot be negative")
	case c.CacheBytes != 0 && c.CacheBytes < 1<<20:
		return invalid("CacheBytes", "CacheBytes must be at least 1 MiB")
	}
	if len(c.CAs) == 0 {
		return invalid("CAs", "name a certificate authority")
	}
	for i := range c.CAs {
		if err := c.CAs[i].validate(); err != nil {
			return err
		}
	}
	if c.Instance == "" {
		c.Instance = rand.Text()
	}
	c.Poll = cmp.Or(c.Poll, 5*time.Second)
	c.News = cmp.Or(c.News, min(newsEvery, 6*c.Poll))
	c.LeaseTime = cmp.Or(c.LeaseTime, 15*time.Second)
	c.HandshakeWait = cmp.Or(c.HandshakeWait, 10*time.Second)
	c.IssueTimeout = cmp.Or(c.IssueTimeout, 3*time.Minute)
	c.RetryDelay = cmp.Or(c.RetryDelay, time.Minute)
	c.TicketRotation = cmp.Or(c.TicketRotation, 12*time.Hour)
	c.TicketPoll = cmp.Or(c.TicketPoll, 5*time.Minute)
	if c.TicketRotation < 4*c.TicketPoll {
		return invalid("TicketRotation", "TicketRotation must be at least four times TicketPoll")
	}
	c.MaxIssuing = cmp.Or(c.MaxIssuing, 8)
	c.MaxWaiting = cmp.Or(c.MaxWaiting, 1000)
	c.CacheBytes = cmp.Or(c.CacheBytes, 64<<20)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

func invalid(field, message string) error {
	return &shingle.Error{Code: shingle.CodeInvalid, Field: field, Message: message}
}
