package s3_test

import (
	"net/http"
	"strings"
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
