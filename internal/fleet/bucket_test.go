package fleet

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/sqlite"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

const bucketHost = "shop.customer.localhost"

// TestBucket_ThreeProcessesOfOneMachine is a fleet that shares a database for the
// domains, and a bucket for all else.
func TestBucket_ThreeProcessesOfOneMachine(t *testing.T) {
	t.Parallel()
	httpPort, tlsPort := freePorts(t)
	p, s3 := playWorld(t, httpPort, tlsPort), storetest.NewS3Server(t)
	s3.Between(func() { s3.Missing = true })
	p.env = append(p.env, "AWS_ACCESS_KEY_ID=fleet", "AWS_SECRET_ACCESS_KEY=fleet",
		"SHINGLE_BLOBS=s3://"+storetest.S3Bucket+"/one", "SHINGLE_S3_ENDPOINT="+s3.URL, "SHINGLE_LOCAL_COPY=0")
	p.run("store", "create")
	data := t.TempDir()
	edges := []*program{
		p.start(data, "serve", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort)),
		p.start(data, "serve", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0"),
		p.start(data, "serve", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0"),
	}
	p.talkTo(edges[0])
	p.oneCertificate(edges)
	for _, e := range edges {
		e.stop()
	}

	s3.Between(func() {
		object, ok := s3.Objects["one/certs/"+bucketHost+"!"]
		if !ok || bytes.Contains(object, []byte("PRIVATE KEY")) {
			t.Errorf("in the bucket: %v, %q", ok, object)
		}
	})
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: data + "/shingle.db"})
	check(t, err)
	defer db.Close()
	if keys, err := db.List(t.Context(), "", "", 10); err != nil || len(keys) > 0 {
		t.Errorf("in the database: %q, %v", keys, err)
	}
}

// TestBucket_Fleet is the same over a table and a real S3 server. An edge goes on
// when the bucket is gone, and after a restart too.
func TestBucket_Fleet(t *testing.T) {
	endpoint := storetest.Endpoint(t, storetest.S3)
	httpPort, tlsPort := freePorts(t)
	p := newPrograms(t, httpPort, tlsPort)
	p.env = append(p.env, "AWS_ACCESS_KEY_ID="+os.Getenv("SHINGLE_TEST_S3_KEY"), "AWS_SECRET_ACCESS_KEY="+os.Getenv("SHINGLE_TEST_S3_SECRET"),
		"SHINGLE_BLOBS=s3://fleet-"+strings.ToLower(rand.Text()[:12])+"/one", "SHINGLE_BLOBS_REGION=us-east-1", "SHINGLE_S3_ENDPOINT="+endpoint)
	p.run("store", "create")
	p.startControl()
	edges := []*program{
		p.start(t.TempDir(), "edge", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort)),
		p.start(t.TempDir(), "edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0"),
	}
	serial := p.oneCertificate(edges)

	await(t, "copied", func() error { return copied(edges[1].data, bucketHost) })
	edges[1].kill()
	p.env = append(p.env, "SHINGLE_S3_ENDPOINT=http://127.0.0.1:1")
	again := p.start(edges[1].data, "edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0")
	if now, err := p.visit(again, bucketHost); now != serial || err != nil {
		t.Errorf("without the bucket: %s, %v", now, err)
	}
}

// A server that ignores conditions is refused before it can do harm.
func TestBucket_ServerThatIgnoresConditionsIsRefused(t *testing.T) {
	t.Parallel()
	p, s3 := playWorld(t, 1, 1), storetest.NewS3Server(t)
	s3.Between(func() { s3.Ignores = "If-Match on PUT" })
	p.env = append(p.env, "AWS_ACCESS_KEY_ID=fleet", "AWS_SECRET_ACCESS_KEY=fleet",
		"SHINGLE_BLOBS=s3://"+storetest.S3Bucket, "SHINGLE_S3_ENDPOINT="+s3.URL)
	for _, args := range [][]string{{"serve", "--data", t.TempDir(), "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0"}, {"store", "create", "--data", t.TempDir()}} {
		if out, err := p.try(args...); err == nil || !strings.Contains(out, "the S3 server ignores If-Match on PUT") {
			t.Errorf("%s: %v, %s", args[0], err, out)
		}
	}
	s3.Between(func() {
		if len(s3.Objects) > 0 {
			t.Errorf("left behind: %v", s3.Objects)
		}
	})
}

// oneCertificate adds a domain, and returns the serial number of the certificate
// with which every edge serves it.
func (p *programs) oneCertificate(edges []*program) (serial string) {
	p.t.Helper()
	_, err := p.client.CreateDomain(p.t.Context(), api.NewDomain{Host: bucketHost, Tenant: "acme"})
	check(p.t, err)
	for i, e := range edges {
		is, err := p.visit(e, bucketHost) // may wait for the order
		check(p.t, err)
		if serial == "" {
			serial = is
		}
		if is != serial {
			p.t.Errorf("edge %d serves %s, edge 0 %s", i, is, serial)
		}
	}
	return serial
}
