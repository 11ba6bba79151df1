package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle/internal/api"
)

// TestDatabase_DamagedIsNoOutage damages the database of a machine that is
// restarted then. What it served it serves, and when the file is put right all is
// well without another restart.
func TestDatabase_DamagedIsNoOutage(t *testing.T) {
	t.Parallel()
	httpPort, tlsPort := freePorts(t)
	p, data := playWorld(t, httpPort, tlsPort), t.TempDir()
	args := []string{"serve", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort)}
	first := p.start(data, args...)
	p.talkTo(first)
	serial := p.oneCertificate([]*program{first})
	await(t, "copied", func() error { return copied(data, bucketHost) })
	first.stop()

	file := filepath.Join(data, "shingle.db")
	whole, err := os.ReadFile(file)
	check(t, err)
	check(t, os.WriteFile(file, bytes.Repeat([]byte("damage"), 1000), 0o600))
	second := p.start(data, args...)
	if now, err := p.visit(second, bucketHost); now != serial || err != nil {
		t.Errorf("%s, %v; before %s", now, err, serial)
	}
	if text := second.log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "put a backup in the place of the file") {
		t.Errorf("the log does not say what to do:\n%s", text)
	}
	p.talkTo(second)
	if _, err := p.client.CreateDomain(t.Context(), api.NewDomain{Host: "new.customer.localhost"}); err == nil {
		t.Error("a domain was added to nothing")
	}
	check(t, os.WriteFile(file, whole, 0o600))
	await(t, "well again", func() error {
		_, err := p.client.CreateDomain(t.Context(), api.NewDomain{Host: "new.customer.localhost"})
		return err
	})
	if _, err := p.visit(second, "new.customer.localhost"); err != nil {
		t.Error(err)
	}

	// Without a snapshot there is nothing to serve: the start fails, and says why.
	second.stop()
	check(t, os.WriteFile(file, bytes.Repeat([]byte("damage"), 1000), 0o600))
	check(t, os.RemoveAll(filepath.Join(data, "edge")))
	out, err := p.try(append(args, "--data", data)...)
	if err == nil || !strings.Contains(out, file+" cannot be opened: it is not an SQLite database, or damaged. Do: end shingle, and put a backup") {
		t.Errorf("%v, %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(data, "edge", "table")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
