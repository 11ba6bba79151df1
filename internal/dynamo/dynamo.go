// Package dynamo keeps domains and blobs in one DynamoDB table: the store of a
// fleet.
//
// The table has the key "pk" (string), "sk" (string) and the TTL attribute
// "ttl". What is many is spread over partitions by a hash, and what must be
// listed in order is merged when it is read, so that nothing ever reads more
// than it returns and no partition takes all writes:
//
//	pk          sk            what
//	domain#07   HOST          a domain, in the shard of its host
//	change#07   000000000042  a change of a domain, numbered without gaps in its shard; TTL
//	head        07            the number of the shard's last change
//	blob#07     KEY           a blob, in the shard of its key
//	made#07     TIME/HOST     that there is a domain, by its creation, in the shard of its host
//	of#ACME     HOST          that the tenant ACME has a domain
//	madeof#ACME TIME/HOST     the same, by its creation
//	index       places        how far older domains have got the three before
//	check       RANDOM        written by an inspection, and deleted by it; TTL
//
// docs/decisions/011-dynamodb.md says why.
package dynamo

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/shingle-proxy/shingle"
)

// shards is over how many partitions domains, changes and blobs are spread. It
// is part of the format and never changes.
const shards = 16

// Config says which table, and how to reach it.
type Config struct {
	Table string
	// Region is that of this machine, in which the table must be or have a
	// replica: where a [Replica] reads.
	Region string
	// HomeRegion is where the table is written, and read by those who decide what
	// to write: the same for the whole fleet, because conditions hold in one region
	// only. Default: Region.
	HomeRegion string
	// Endpoint and HomeEndpoint are URLs to use instead of AWS's, for tests.
	Endpoint, HomeEndpoint string
	// Credentials sign the requests. Default: the SDK's chain (environment,
	// profile, role of the machine).
	Credentials aws.CredentialsProvider
	// Retention is how long changes are kept. A reader that is further behind
	// reads all domains again. Default: 7 days.
	Retention time.Duration
	// OnChange, when set, is called behind each write of a domain in this
	// process. It must not block.
	OnChange func()
	// Unreadable is told of rows that cannot be read; nil: nobody is.
	Unreadable *shingle.Unreadable
	// Timeout bounds one attempt of a call. Default: 2 s.
	Timeout time.Duration
	// IndexStep is how many domains a call of [Store.Index] looks at. Default: 1000.
	IndexStep int
	// Middleware, for tests, sees every request.
	Middleware func(*dynamodb.Options)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (c *Config) validate() error {
	switch {
	case c.Table == "":
		return errors.New("the name of the table is missing")
	case c.Region == "":
		return errors.New("the region of the table is missing")
	case c.Retention < 0:
		return fmt.Errorf("changes cannot be kept for %s", c.Retention)
	}
	if c.HomeRegion == "" {
		c.HomeRegion = c.Region
	}
	if c.HomeEndpoint == "" {
		c.HomeEndpoint = c.Endpoint
	}
	if c.Retention == 0 {
		c.Retention = 7 * 24 * time.Hour
	}
	if c.Timeout == 0 {
		c.Timeout = attemptTimeout
	}
	if c.IndexStep == 0 {
		c.IndexStep = 1000
	}
	if c.OnChange == nil {
		c.OnChange = func() {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Store is a [shingle.DomainStore] and a [shingle.Blobs] over one table, which is
// read and written in its home region. [Store.Replica] reads nearby.
type Store struct {
	cfg   Config
	home  *client
	local *client // of the replica; home itself where that is home

	logs   [shards]changeLog
	ready  atomic.Bool  // all domains are known to have their places
	lastAt atomic.Int64 // of the changes written here, Unix microseconds
}

var (
	_ shingle.DomainStore = (*Store)(nil)
	_ shingle.Blobs       = (*Store)(nil)

	_ shingle.DomainCounter = (*Store)(nil)
	_ shingle.DomainCounter = (*Replica)(nil)
)

// Open returns the store. It asks nothing of the table yet: [Store.Check] does.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("open DynamoDB table: %w", err)
	}
	s := &Store{cfg: cfg}
	var err error
	if s.local, err = newClient(ctx, cfg, cfg.Region, cfg.Endpoint); err != nil {
		return nil, err
	}
	s.home = s.local
	if !s.atHome() {
		if s.home, err = newClient(ctx, cfg, cfg.HomeRegion, cfg.HomeEndpoint); err != nil {
			return nil, err
		}
	}
	for i := range s.logs {
		s.logs[i].turn = make(chan struct{}, 1)
	}
	return s, nil
}

func (s *Store) atHome() bool { return s.cfg.Region == s.cfg.HomeRegion }

// Check asks the table for something, in each region that is used. Its error is
// a [shingle.ErrSetup] when trying again will not help.
func (s *Store) Check(ctx context.Context) error {
	_, err := s.heads(ctx, s.local, true)
	if err == nil && !s.atHome() {
		_, err = s.heads(ctx, s.home, true)
	}
	return err
}

// Close frees the connections.
func (s *Store) Close() error {
	s.local.close()
	s.home.close()
	return nil
}

// shardOf never changes, like shards.
func shardOf(key string, of int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // never fails
	sum := h.Sum64()
	return int((sum ^ sum>>32) % uint64(of)) // FNV's low bits alone depend on few of the input's
}

func checkLimit(limit int) error {
	if limit < 1 || limit > 1000 {
		return &shingle.Error{Code: shingle.CodeInvalid, Field: "limit", Message: "a limit is 1 to 1000"}
	}
	return nil
}
