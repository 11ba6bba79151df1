package edge

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestEdge_HeaderPolicy(t *testing.T) {
	allProtocols(t, func(t *testing.T, major int) {
		seen := make(chan *http.Request, 1)
		url := origin(t, func(w http.ResponseWriter, r *http.Request) {
			seen <- r
			w.Header().Set("Keep-Alive", "timeout=5")
			w.Header().Add("Set-Cookie", "a=1")
			w.Header().Add("Set-Cookie", "b=2")
			_, _ = io.WriteString(w, "hello")
		})
		te := startEdge(t, url)
		req, _ := http.NewRequest("GET", "https://"+testHost+"/a%2Fb?q=1", nil)
		req.Header.Set("User-Custom-Domain", "forged.test")
		req.Header.Set("User_custom_domain", "forged.test")
		req.Header.Set("X-Forwarded-For", "203.0.113.9")
		for _, name := range []string{"By", "Server", "Access_Token", "Client-Cert", "Preferred-Username"} {
			req.Header.Set("X-Forwarded-"+name, "forged")
		}
		req.Header.Set("X-Client-Cert-Serial", "forged")
		req.Header.Set("Forwarded", "for=203.0.113.9")
		req.Header.Set("TE", "trailers")
		req.Header.Set("Accept", "text/x")
		if major == 1 {
			req.Header["Connection"] = []string{"", "X-Drop"}
			req.Header.Set("X-Drop", "1")
			req.Header.Set("TE", "deflate, trailers")
			req.Header.Set("Proxy-Authorization", "secret")
		}
		resp, err := te.client(t, major).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(body) != "hello" || resp.ProtoMajor != major || len(resp.Header["Set-Cookie"]) != 2 || resp.Header.Get("Keep-Alive") != "" {
			t.Fatalf("got %v %q", resp, body)
		}
		r := <-seen
		_, port, _ := net.SplitHostPort(te.https)
		for name, want := range map[string]string{
			"User-Custom-Domain": testHost, "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": testHost, "X-Forwarded-Port": port, "Te": "trailers", "Accept": "text/x",
			"X-Drop": "", "Proxy-Authorization": "", "Forwarded": "", "User_custom_domain": "", "X-Forwarded-Server": "", "Connection": "",
			"X-Forwarded-By": "", "X-Forwarded-Access_token": "", "X-Forwarded-Client-Cert": "", "X-Forwarded-Preferred-Username": "", "X-Client-Cert-Serial": "",
		} {
			if got := strings.Join(r.Header.Values(name), "|"); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if r.Host != strings.TrimPrefix(url, "http://") || r.RequestURI != "/a%2Fb?q=1" {
			t.Errorf("Host %q, target %q", r.Host, r.RequestURI)
		}
	})
}
