package edge

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
)

func TestEdge_RefusesNamesInTheHandshake(t *testing.T) {
	te := startEdge(t, "http://127.0.0.1:1")
	for _, name := range []string{"unknown.customer.test", "paused.customer.test", "", "127.0.0.1", "single"} {
		c, err := net.Dial("tcp", te.https)
		if err != nil {
			t.Fatal(err)
		}
		err = tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
		_ = c.Close()
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%q: got %v, want unrecognized name", name, err)
		}
	}
	if n := te.certs.asked.Load(); n != 0 {
		t.Errorf("%d certificates were asked for", n)
	}
	if n := te.store.reads.Load(); n != 2 { // unknown.customer.test and *.customer.test; paused is in the table
		t.Errorf("%d reads of the store, want 2", n)
	}
}
