package s3_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/s3"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func TestEnsureBucket_MakesOneThatIsClosed(t *testing.T) {
	t.Parallel()
	f := storetest.NewS3Server(t)
	f.Missing = true
	s := open(t, s3.Config{Endpoint: f.URL})
	for i := range 2 {
		made, err := s.EnsureBucket(t.Context())
		check(t, err)
		if made != (i == 0) || f.Missing || strings.Count(f.Settings["publicAccessBlock"], "true") != 4 {
			t.Errorf("%d: made %v, %q", i, made, f.Settings)
		}
	}
	check(t, s.Probe(t.Context()))
}

// TestEnsureBucket_RepliesThatAreLost makes buckets with the reply to each call lost.
func TestEnsureBucket_RepliesThatAreLost(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(*http.Request) bool{
		"ListObjectsV2": func(r *http.Request) bool { return r.Method == http.MethodGet },
		"CreateBucket": func(r *http.Request) bool {
			return r.Method == http.MethodPut && !r.URL.Query().Has("publicAccessBlock")
		},
		"PutPublicAccessBlock": func(r *http.Request) bool { return r.URL.Query().Has("publicAccessBlock") },
	} {
		f := storetest.NewS3Server(t)
		f.Missing = true
		p := storetest.NewProxy(t, f.URL)
		var lost atomic.Bool
		p.Inject(storetest.Once(call, storetest.LoseAnswerAfter(func() { lost.Store(true) })))
		made, err := open(t, s3.Config{Endpoint: p.URL}).EnsureBucket(t.Context())
		if err != nil || !made || !lost.Load() || strings.Count(f.Settings["publicAccessBlock"], "true") != 4 {
			t.Errorf("%s: lost %v, made %v, %v; %q", name, lost.Load(), made, err, f.Settings)
		}
	}
}

func TestSettings_SaysWhatToDo(t *testing.T) {
	t.Parallel()
	const open4 = "<PublicAccessBlockConfiguration><BlockPublicAcls>%</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
	good := map[string]string{
		"publicAccessBlock": strings.ReplaceAll(open4, "%", "true"),
		"encryption":        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
	}
	bad := map[string]string{
		"publicAccessBlock": strings.ReplaceAll(open4, "%", "false"),
		"versioning":        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
	}
	for name, tt := range map[string]struct {
		settings map[string]string
		before   func(http.ResponseWriter, *http.Request) bool
		want     shingle.Severity
		says     string
	}{
		"good":    {settings: good, want: shingle.SeverityOK},
		"bad":     {settings: bad, want: shingle.SeverityWarning},
		"unknown": {want: shingle.SeverityUnknown, says: "this server has no such setting"},
		"denied": {want: shingle.SeverityUnknown, says: "lacks s3:Get", before: func(w http.ResponseWriter, _ *http.Request) bool {
			storetest.RefuseS3(w, http.StatusForbidden, "AccessDenied")
			return true
		}},
	} {
		f := storetest.NewS3Server(t)
		f.Settings, f.Before = tt.settings, tt.before
		list := open(t, s3.Config{Endpoint: f.URL}).Settings(t.Context())
		if len(list) != 3 {
			t.Errorf("%s: %+v", name, list)
		}
		for _, x := range list {
			if x.Severity != tt.want || !strings.Contains(x.Message, tt.says) || (x.Do != "") != (tt.want == shingle.SeverityWarning) {
				t.Errorf("%s: %+v", name, x)
			}
		}
	}
}
