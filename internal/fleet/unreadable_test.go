package fleet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/shingle-proxy/shingle"
	statuses "github.com/shingle-proxy/shingle/internal/check"
	"github.com/shingle-proxy/shingle/internal/dynamo"
	"github.com/shingle-proxy/shingle/internal/events"
	"github.com/shingle-proxy/shingle/internal/files"
	"github.com/shingle-proxy/shingle/internal/jobs"
	"github.com/shingle-proxy/shingle/internal/members"
	"github.com/shingle-proxy/shingle/internal/s3"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storetest"
	"github.com/shingle-proxy/shingle/internal/tokens"
)

// blobStores are the places of records.
var blobStores = map[string]func(t *testing.T) shingle.Blobs{
	"sqlite": func(t *testing.T) shingle.Blobs {
		db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "shingle.db")})
		check(t, err)
		t.Cleanup(func() { _ = db.Close() })
		return db
	},
	"files": func(t *testing.T) shingle.Blobs {
		folder, err := files.Open(filepath.Join(t.TempDir(), "blobs"))
		check(t, err)
		t.Cleanup(func() { _ = folder.Close() })
		return folder
	},
	"s3": func(t *testing.T) shingle.Blobs {
		server := storetest.NewS3Server(t)
		t.Setenv("AWS_ACCESS_KEY_ID", "fleet")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "fleet")
		bucket, err := s3.Open(t.Context(), s3.Config{Bucket: storetest.S3Bucket, Region: "us-east-1", Endpoint: server.URL, PathStyle: true})
		check(t, err)
		t.Cleanup(func() { _ = bucket.Close() })
		return bucket
	},
	"dynamodb": func(t *testing.T) shingle.Blobs {
		table, err := dynamo.Open(t.Context(), dynamo.Config{
			Table: "unreadable-" + strings.ToLower(rand.Text()), Region: "eu-central-1", Endpoint: storetest.Endpoint(t, storetest.DynamoDB),
			Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		})
		check(t, err)
		t.Cleanup(func() { _ = table.Close() })
		check(t, table.EnsureTable(t.Context()))
		return table
	},
}

// damages are what a record can become.
var damages = []string{`{"id":`, "null", `[1,2]`, `"x"`, "\x00\xff", `{"hash":7,"id":{},"webhook":{"id":1},"state":"of a newer version","event":3,"created":"x"}`}

// kept is a kind of record, of which several are made and one is damaged.
type kept struct {
	prefix string // of the keys of all
	make   func(t *testing.T, n int)
	// rest returns how many of them still work.
	rest func(t *testing.T) int
}

const many = 4

// TestUnreadable_OneRecordStopsNoOther damages, in each store, one of several records of
// each kind in each way: the others work on, the damaged one stays as it is, and is told of.
func TestUnreadable_OneRecordStopsNoOther(t *testing.T) {
	for store, open := range blobStores {
		t.Run(store, func(t *testing.T) {
			for name := range kinds(t, open(t), nil) {
				t.Run(name, func(t *testing.T) {
					u := shingle.NewUnreadable(storetest.Discard)
					blobs := open(t)
					k := kinds(t, blobs, u)[name]
					for n := range many {
						k.make(t, n)
					}
					keys, err := blobs.List(t.Context(), k.prefix, "", 1000)
					check(t, err)
					if len(keys) < many {
						t.Fatalf("%q made", keys)
					}
					key := keys[1]
					for _, damage := range damages {
						now, err := blobs.Get(t.Context(), key)
						check(t, err)
						version, err := blobs.Put(t.Context(), key, []byte(damage), now.Version)
						check(t, err)
						if rest := k.rest(t); rest != many-1 {
							t.Errorf("%q: %d of %d work", damage, rest, many-1)
						}
						if is, err := blobs.Get(t.Context(), key); err != nil || is.Version != version {
							t.Errorf("%q: it is now %q, %v", damage, is.Value, err)
						}
						if !slices.Contains(u.Keys(), key) {
							t.Errorf("%q: told of %q, not %s", damage, u.Keys(), key)
						}
					}
				})
			}
		})
	}
}

type idleWorker struct{}

func (idleWorker) Do(_ context.Context, _ *shingle.Job, line json.RawMessage, _ bool) (l shingle.JobLine, err error) {
	return shingle.JobLine{Result: shingle.JobLineCreated}, json.Unmarshal(line, &l.Host)
}

func (idleWorker) Find(context.Context, *shingle.Job, string, int) ([]string, string, error) {
	return nil, "", nil
}

func kinds(t *testing.T, blobs shingle.Blobs, u *shingle.Unreadable) map[string]kept {
	keeper, err := tokens.New(tokens.Config{Blobs: blobs, Unreadable: u})
	check(t, err)
	hub, err := events.New(events.Config{Blobs: blobs, Sealer: openSealer{}, Unreadable: u})
	check(t, err)
	roster := members.New(members.Config{Blobs: blobs, Unreadable: u})
	work := jobs.New(jobs.Config{Blobs: blobs, Worker: idleWorker{}, Unreadable: u})
	listed := statuses.NewListed(blobs, u)
	var texts []string
	put := func(t *testing.T, key string, v any) {
		value, err := json.Marshal(v)
		check(t, err)
		_, err = blobs.Put(t.Context(), key, value, shingle.NoVersion)
		check(t, err)
	}
	event := func(n int) shingle.Event {
		return shingle.Event{ID: fmt.Sprintf("evt_%02d", n), Type: shingle.EventDomainCreated, At: time.Now().UTC().Truncate(time.Microsecond), Host: "a.example.com"}
	}
	return map[string]kept{
		"token": {
			prefix: "tokens/ids/",
			make: func(t *testing.T, n int) {
				text, _, err := keeper.CreateToken(t.Context(), shingle.Token{Name: fmt.Sprintf("token-%d", n), Role: shingle.RoleRead})
				check(t, err)
				texts = append(texts, text)
			},
			rest: func(t *testing.T) int {
				list, _, err := keeper.Tokens(t.Context(), "", 100)
				check(t, err)
				fresh, err := tokens.New(tokens.Config{Blobs: blobs, Unreadable: u})
				check(t, err)
				good := 0
				for _, text := range texts {
					switch _, err := fresh.CheckToken(t.Context(), text, netip.Addr{}); {
					case err == nil:
						good++
					case !errors.Is(err, shingle.ErrUnavailable):
						t.Errorf("the damaged one: %v", err)
					}
				}
				if len(list) != good {
					t.Errorf("%d are listed, and %d let in", len(list), good)
				}
				return good
			},
		},
		"member": {
			prefix: members.Prefix,
			make: func(t *testing.T, n int) {
				put(t, fmt.Sprintf("edges/edge%d", n), shingle.Member{ID: fmt.Sprintf("edge%d", n), Reported: time.Now(), Every: time.Minute})
			},
			rest: func(t *testing.T) int {
				list, _, err := roster.Members(t.Context(), "", 100)
				check(t, err)
				return len(list)
			},
		},
		"webhook": {
			prefix: "webhooks/",
			make: func(t *testing.T, n int) {
				_, _, err := hub.CreateWebhook(t.Context(), shingle.Webhook{URL: fmt.Sprintf("https://hooks.example.com/%d", n)})
				check(t, err)
			},
			rest: func(t *testing.T) int {
				list, err := hub.Webhooks(t.Context())
				check(t, err)
				return len(list)
			},
		},
		"event": {
			prefix: "events/log/",
			make:   func(t *testing.T, n int) { put(t, fmt.Sprintf("events/log/%016d/evt_%02d", n, n), event(n)) },
			rest: func(t *testing.T) int {
				list, _, err := hub.Log(t.Context(), shingle.EventFilter{}, "", 100)
				check(t, err)
				return len(list)
			},
		},
		"outbox": {
			prefix: "events/outbox/",
			make:   func(t *testing.T, n int) { check(t, hub.Record(t.Context(), event(n))) },
			rest: func(t *testing.T) int {
				ctx, end := context.WithCancel(t.Context())
				defer end()
				leader, err := events.New(events.Config{Blobs: blobs, Sealer: openSealer{}, Unreadable: u, Poll: 5 * time.Millisecond})
				check(t, err)
				ended := make(chan error, 1)
				go func() { ended <- leader.Run(ctx) }()
				defer func() { end(); _ = errors.Join(<-ended) }()
				var list []shingle.Event
				await(t, "logged", func() error {
					if list, _, err = leader.Log(ctx, shingle.EventFilter{}, "", 100); err == nil && len(list) < many-1 {
						err = fmt.Errorf("%d events", len(list))
					}
					return err
				})
				return len(list)
			},
		},
		"job": {
			prefix: "jobs/",
			make: func(t *testing.T, n int) {
				_, err := work.CreateJob(t.Context(), shingle.Job{Kind: shingle.JobCreate, By: "a"}, []json.RawMessage{json.RawMessage(fmt.Sprintf(`"%d.example.com"`, n))})
				check(t, err)
			},
			rest: func(t *testing.T) int {
				ctx, end := context.WithCancel(t.Context())
				defer end()
				leader := jobs.New(jobs.Config{Blobs: blobs, Worker: idleWorker{}, Unreadable: u, Poll: 5 * time.Millisecond})
				ended := make(chan error, 1)
				go func() { ended <- leader.Run(ctx) }()
				defer func() { end(); _ = errors.Join(<-ended) }()
				done := 0
				await(t, "done", func() error {
					list, _, err := leader.Jobs(ctx, "", "", 100)
					done = len(list)
					for i := range list {
						if list[i].State != shingle.JobDone {
							return fmt.Errorf("%s is %s", list[i].ID, list[i].State)
						}
					}
					return err
				})
				return done
			},
		},
		"status": {
			prefix: "statuses/",
			make: func(t *testing.T, n int) {
				host := fmt.Sprintf("%d.example.com", n)
				now := time.Now().UTC().Truncate(time.Second)
				put(t, "statuses/"+host, shingle.Status{Host: host, State: shingle.StatePending, Who: shingle.WhoCustomer, Since: now, Changed: now})
			},
			rest: func(t *testing.T) (good int) {
				shown := statuses.Shown{From: blobs, Unreadable: u}
				for n := range many {
					switch _, err := shown.Status(t.Context(), fmt.Sprintf("%d.example.com", n)); {
					case err == nil:
						good++
					case !errors.Is(err, shingle.ErrUnreadable):
						t.Errorf("the damaged one: %v", err)
					}
				}
				if _, err := listed.Listed(t.Context(), shingle.StatusKind{State: shingle.StatePending, Who: shingle.WhoCustomer}, shingle.ListedStatus{}, 10); err != nil && !errors.Is(err, shingle.ErrUnavailable) {
					t.Error(err)
				}
				return good
			},
		},
	}
}
