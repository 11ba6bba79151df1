package browsertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const samplePage = `<!doctype html><html lang="en"><head><title>Sample</title></head><body><main>
<h1>Sample</h1><label for="name">Name</label> <input id="name"> <button id="ok">OK</button> <p id="says" role="status"></p>
<script src="/sample.js"></script></main></body></html>`

const sampleScript = `document.getElementById("ok").onclick = () => { document.getElementById("says").textContent = "Hello " + document.getElementById("name").value };`

func sample(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := samplePage
		switch r.URL.Path {
		case "/sample.js":
			body = sampleScript
		case "/favicon.ico":
			body = ""
		case "/inline":
			w.Header().Set("Content-Security-Policy", "default-src 'self'")
			body = strings.Replace(samplePage, "<script", "<script>1</script><script", 1)
		case "/bad":
			body = `<!doctype html><html><body><main><img src="/x.png"><img src="http://elsewhere.example/y.png"></main></body></html>`
		}
		if r.URL.Path != "/sample.js" {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
		}
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestPage_TypesClicksAndKeepsAccount(t *testing.T) {
	s := sample(t)
	p := Start(t).Page(t, Phone)
	if status := p.Open(s.URL + "/"); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	p.Type("#name", "Ann")
	p.Click("#ok")
	p.Await("#says", "Hello Ann")
	p.IsAccessible()
	p.StaysAt(s.URL)
	if !slices.Contains(p.Requests(), s.URL+"/sample.js") {
		t.Errorf("the account has %q", p.Requests())
	}
	p.Screenshot("sample")
}

func TestPage_FindsWhatIsWrong(t *testing.T) {
	s := sample(t)
	b := Start(t)
	p := b.Page(t, Desktop)
	p.Open(s.URL + "/inline")
	p.AwaitTrue(`document.readyState == "complete"`)
	if faults := p.take(); len(faults) != 1 || !strings.Contains(faults[0], "Content Security Policy") {
		t.Errorf("a script that the policy refuses: %q", faults)
	}
	p.Open(s.URL + "/bad")
	p.AwaitTrue(`document.readyState == "complete"`)
	if !slices.Contains(p.Requests(), "http://elsewhere.example/y.png") {
		t.Errorf("the account has %q", p.Requests())
	}
	if found := Eval[string](p, p.axe+`; axe.run(document).then(r => r.violations.map(v => v.id).join(" "))`); !strings.Contains(found, "image-alt") || !strings.Contains(found, "html-has-lang") {
		t.Errorf("axe found %q", found)
	}
}

// take returns the faults and forgets them.
func (p *Page) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	faults := p.faults
	p.faults = nil
	return faults
}
