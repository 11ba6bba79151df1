package route53

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
)

// fake is a hosted zone as the API reference of Route 53 describes it, where moto
// is laxer: a change is carried out whole or not at all, a set is deleted only if
// all of its values are given, and created only if there is none.
type fake struct {
	t       *testing.T
	mu      sync.Mutex
	sets    map[string]rrset // by name
	pending int              // looks at a change until it is INSYNC
	refused int
	lose    bool // the reply to the next change

	together *sync.WaitGroup // the first readers wait for one another; may be nil
}

type rrset struct {
	Name   string
	Type   string
	TTL    int64
	Values []string `xml:"ResourceRecords>ResourceRecord>Value"`
}

type changeRequest struct {
	Changes []struct {
		Action string
		Set    rrset `xml:"ResourceRecordSet"`
	} `xml:"ChangeBatch>Changes>Change"`
}

func openFake(t *testing.T) (*Provider, *fake) {
	t.Helper()
	f := &fake{t: t, sets: map[string]rrset{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	p, err := Open(t.Context(), Config{
		ZoneID: "Z1", Endpoint: s.URL, Poll: time.Millisecond, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
	check(t, err)
	return p, f
}

// ServeHTTP implements [http.Handler].
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "text/xml")
	if all := f.together; all != nil && r.Method == http.MethodGet && len(f.sets) == 0 {
		f.mu.Unlock()
		all.Done()
		all.Wait()
		f.mu.Lock()
	}
	const info = `<ChangeInfo><Id>/change/C1</Id><Status>%s</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo>`
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/2013-04-01/hostedzone/Z1/rrset":
		body, err := io.ReadAll(r.Body)
		var q changeRequest
		if err != nil || xml.Unmarshal(body, &q) != nil {
			f.t.Errorf("cannot read %s", body)
		}
		if !f.carryOut(q) {
			f.refused++
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `<?xml version="1.0"?><InvalidChangeBatch xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Messages><Message>the values provided do not match the current values</Message></Messages></InvalidChangeBatch>`)
			return
		}
		if f.lose {
			f.lose = false
			panic(http.ErrAbortHandler)
		}
		_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><ChangeResourceRecordSetsResponse>`+info+`</ChangeResourceRecordSetsResponse>`, "PENDING")
	case r.Method == http.MethodGet && r.URL.Path == "/2013-04-01/change/C1":
		status := "INSYNC"
		if f.pending > 0 {
			f.pending--
			status = "PENDING"
		}
		_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><GetChangeResponse>`+info+`</GetChangeResponse>`, status)
	case r.Method == http.MethodGet && r.URL.Path == "/2013-04-01/hostedzone/Z1/rrset":
		_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><ListResourceRecordSetsResponse><ResourceRecordSets>%s</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>1</MaxItems></ListResourceRecordSetsResponse>`,
			f.from(r.URL.Query().Get("name")))
	default:
		f.t.Errorf("unknown request %s %s", r.Method, r.URL)
	}
}

// from returns the set of a name, or else of another one behind it.
func (f *fake) from(name string) string {
	set, ok := f.sets[name]
	if !ok {
		set = rrset{Name: "zz." + name, Type: "TXT", TTL: 1, Values: []string{`"other"`}}
	}
	var records strings.Builder
	for _, v := range set.Values {
		records.WriteString("<ResourceRecord><Value>")
		_ = xml.EscapeText(&records, []byte(v))
		records.WriteString("</Value></ResourceRecord>")
	}
	return fmt.Sprintf(`<ResourceRecordSet><Name>%s</Name><Type>%s</Type><TTL>%d</TTL><ResourceRecords>%s</ResourceRecords></ResourceRecordSet>`,
		set.Name, set.Type, set.TTL, records.String())
}

// carryOut makes all changes or none.
func (f *fake) carryOut(q changeRequest) bool {
	after := map[string]rrset{}
	for name, set := range f.sets {
		after[name] = set
	}
	for _, c := range q.Changes {
		old, ok := after[c.Set.Name]
		switch c.Action {
		case "DELETE":
			if !ok || old.TTL != c.Set.TTL || !slices.Equal(old.Values, c.Set.Values) {
				return false
			}
			delete(after, c.Set.Name)
		case "CREATE":
			if ok {
				return false
			}
			after[c.Set.Name] = c.Set
		case "UPSERT":
			if ok {
				f.t.Errorf("%q is overwritten by %q, whatever it is", old.Values, c.Set.Values)
			}
			after[c.Set.Name] = c.Set
		default:
			f.t.Errorf("action %q", c.Action)
		}
	}
	f.sets = after
	return true
}
