package fleet

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// TestMove_FromOneMachineToAFleet moves an installation from SQLite into a table,
// as docs/storage.md says. The certificate goes along, and nobody orders another.
func TestMove_FromOneMachineToAFleet(t *testing.T) {
	endpoint := storetest.Endpoint(t, storetest.DynamoDB)
	httpPort, tlsPort := freePorts(t)
	p := playWorld(t, httpPort, tlsPort)
	p.env = append(p.env, "AWS_ACCESS_KEY_ID=fleet", "AWS_SECRET_ACCESS_KEY=fleet")
	ports := []string{"--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort)}
	one := p.start(t.TempDir(), append([]string{"serve"}, ports...)...)
	p.keep(one)
	serial := p.oneCertificate([]*program{one})

	table := "moved-" + strings.ToLower(rand.Text())
	from, to := "sqlite:"+filepath.Join(one.data, "shingle.db"), "dynamodb:eu-central-1/"+table+"?endpoint="+endpoint
	p.env = append(p.env, "SHINGLE_DYNAMODB_ENDPOINT="+endpoint, "SHINGLE_TABLE="+table, "SHINGLE_TABLE_REGION=eu-central-1")
	p.run("store", "create")
	if out, err := p.try("store", "copy", from, to); err == nil || !strings.Contains(out, "shingle is at work on FROM") {
		t.Errorf("while it is at work: %v, %s", err, out)
	}
	p.run("store", "copy", "--live", from, to)
	if out, err := p.try("control", "--data", t.TempDir()); err == nil || !strings.Contains(out, "half a copy of "+from) {
		t.Errorf("on half a copy: %v, %s", err, out)
	}
	one.stop()
	p.run("store", "copy", from, to)

	p.startControl()
	edge := p.start(t.TempDir(), append([]string{"edge"}, ports...)...)
	if now, err := p.visit(edge, bucketHost); now != serial || err != nil {
		t.Errorf("%s, %v; before %s", now, err, serial)
	}
	d, err := p.client.Domain(t.Context(), bucketHost)
	if err != nil || d.Tenant != "acme" {
		t.Errorf("%+v, %v", d, err)
	}
}

// A copy that is killed at any time goes on.
func TestMove_KilledCopyGoesOn(t *testing.T) {
	t.Parallel()
	p, s3 := playWorld(t, 1, 1), storetest.NewS3Server(t)
	p.env = append(p.env, "AWS_ACCESS_KEY_ID=fleet", "AWS_SECRET_ACCESS_KEY=fleet")
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, "from.db")})
	check(t, err)
	for i := range 600 {
		_, err := db.Put(t.Context(), fmt.Sprintf("certs/h%d.example.com", i), []byte("sealed"), shingle.NoVersion)
		check(t, err)
	}
	_, err = db.CreateDomain(t.Context(), shingle.Domain{Host: "h1.example.com"}, time.Now())
	check(t, err)
	check(t, db.Close())
	args := []string{"store", "copy", "sqlite:" + filepath.Join(dir, "from.db"),
		"sqlite:" + filepath.Join(dir, "to.db") + ",s3://" + storetest.S3Bucket + "/to?region=us-east-1&endpoint=" + s3.URL}

	for _, at := range []int{3, 40, 400} { // the probe of conditions takes the first
		cmd := exec.CommandContext(t.Context(), p.binary, args...)
		cmd.Env = p.env
		puts, reached := 0, make(chan struct{})
		s3.Between(func() {
			s3.Before = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut {
					if puts++; puts == at {
						close(reached)
					}
				}
				return puts >= at // the one that is cut off, and those beside it, do nothing
			}
		})
		check(t, cmd.Start())
		<-reached
		check(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	s3.Between(func() { s3.Before = nil })
	out, err := p.try(args...)
	if err != nil || !strings.Contains(out, "went on; there are now 1 domain and 600 records") {
		t.Errorf("%v, %s", err, out)
	}
	n := 0
	s3.Between(func() {
		for name := range s3.Objects {
			switch {
			case strings.HasPrefix(name, "to/certs/"):
				n++
			case !strings.HasPrefix(name, "to/!probe/"): // of the one that was killed as it tried the server out
				t.Errorf("left behind: %s", name)
			}
		}
	})
	if n != 600 {
		t.Errorf("%d objects", n)
	}
}

// keep takes over the sealing key and the API of a process that is alone.
func (p *programs) keep(x *program) {
	p.t.Helper()
	key, err := os.ReadFile(filepath.Join(x.data, "seal.key"))
	check(p.t, err)
	check(p.t, os.WriteFile(p.key, key, 0o600))
	p.talkTo(x)
}
