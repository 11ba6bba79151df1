package browsertest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Page is what a person has before them. Its methods fail the test when they cannot do
// what they are to do; selectors are those of CSS.
type Page struct {
	Browser *Browser // whose page it is

	t    *testing.T
	ctx  context.Context
	axe  string
	look Look

	mu       sync.Mutex
	requests []string // URLs, in the order in which they were asked for
	faults   []string // what pages reported
}

// hear is called by the browser, one event after another.
func (p *Page) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	case *network.EventWebSocketCreated:
		p.requests = append(p.requests, e.URL)
	case *runtime.EventExceptionThrown:
		p.faults = append(p.faults, "a script threw: "+e.ExceptionDetails.Text+" "+describe(e.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity || e.Entry.Source == log.EntrySourceJavascript {
			p.faults = append(p.faults, e.Entry.Text)
		}
	}
}

func describe(o *runtime.RemoteObject) string {
	if o == nil {
		return ""
	}
	return o.Description
}

// report fails the test with what the pages reported.
func (p *Page) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fault := range p.faults {
		p.t.Errorf("the browser reports: %s", fault)
	}
}

// Requests returns the URL of every request so far, those of data: and blob: too.
func (p *Page) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// StaysAt fails the test when a request went elsewhere than to the origins, such as
// http://127.0.0.1:8090.
func (p *Page) StaysAt(origins ...string) {
	p.t.Helper()
	all := p.Requests()
	if len(all) == 0 {
		p.t.Error("no request at all was seen")
	}
	for _, url := range all {
		if !slices.ContainsFunc(append(origins, "data:", "about:"), func(origin string) bool {
			rest, ok := strings.CutPrefix(url, origin)
			return ok && (strings.HasSuffix(origin, ":") || rest == "" || rest[0] == '/')
		}) {
			p.t.Errorf("a request left the origin: %s", url)
		}
	}
}

// Open goes to a URL and waits until it is loaded. It returns the status.
func (p *Page) Open(url string) int {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	answer, err := chromedp.Run(ctx, chromedp.NavigateResponse(url))
	p.must("open "+url, err)
	if answer == nil {
		return 0
	}
	return int(answer.Status)
}

// Click clicks the first element that is visible.
func (p *Page) Click(selector string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	p.must("click "+selector, chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible)))
}

// Follow clicks what leads to another page, and waits until that is loaded.
func (p *Page) Follow(selector string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
	p.must("follow "+selector, err)
}

// FollowOut clicks a link that opens a window of its own, and returns the page in that,
// which has the same look.
func (p *Page) FollowOut(selector string) *Page {
	p.t.Helper()
	to := Eval[string](p, `document.querySelector(`+quote(selector)+`)?.href ?? ""`)
	opened := chromedp.WaitNewTarget(p.ctx, func(*target.Info) bool { return true })
	p.Click(selector)
	var id target.ID
	select {
	case id = <-opened:
	case <-time.After(patience):
		p.t.Fatalf("%s opens no window", selector)
	}
	out := p.Browser.attach(p.ctx, p.t, p.look, chromedp.WithTargetID(id))
	out.Open(to) // again: now as it is to be looked at
	return out
}

// Type types into a field, in the place of what it has.
func (p *Page) Type(selector, text string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	p.must("type into "+selector, chromedp.Do(ctx, chromedp.Focus(chromedp.CSS(selector), chromedp.NodeVisible)))
	Eval[bool](p, "document.activeElement.select(), true")
	p.must("type into "+selector, chromedp.Do(ctx, chromedp.KeyEvent(cmp.Or(text, kb.Delete))))
}

// Press presses keys on whatever has the focus; github.com/chromedp/chromedp/kb has
// those that are no characters.
func (p *Page) Press(keys string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	p.must("press keys", chromedp.Do(ctx, chromedp.KeyEvent(keys)))
}

// Await waits until an element has a text, of which white space is squeezed. Pages may
// come and go meanwhile.
func (p *Page) Await(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%s to say %q", selector, text), fmt.Sprintf(
		`[...document.querySelectorAll(%s)].some(e => e.innerText.replace(/\s+/g, " ").includes(%s))`, quote(selector), quote(text)))
}

// AwaitTrue waits until an expression of JavaScript is true.
func (p *Page) AwaitTrue(expression string) {
	p.t.Helper()
	p.until(expression, "!!("+expression+")")
}

func (p *Page) until(what, expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for {
		is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if is && err == nil {
			return
		}
		select { // an error: between two pages
		case <-ctx.Done():
			p.t.Fatalf("waited for %s (%v); the page says:\n%s", what, err, p.says())
		case <-time.After(glance):
		}
	}
}

// Text returns the text of the first element, with white space squeezed, or "".
func (p *Page) Text(selector string) string {
	p.t.Helper()
	return Eval[string](p, `(document.querySelector(`+quote(selector)+`)?.innerText ?? "").replace(/\s+/g, " ").trim()`)
}

// Eval returns what an expression of JavaScript is, or what its promise comes to.
func Eval[T any](p *Page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	p.must("evaluate", err)
	return value
}

// violation is what axe found.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct{ HTML, FailureSummary string }
}

// IsAccessible has axe look at the page, by WCAG 2.2 AA and its own best practices, and
// fails the test with everything that it finds. It also fails when the page is wider
// than the window.
func (p *Page) IsAccessible() {
	p.t.Helper()
	Eval[bool](p, p.axe+"\n;true")
	found := Eval[string](p, `axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations))`)
	var list []violation
	p.must("read what axe says", json.Unmarshal([]byte(found), &list))
	where := Eval[string](p, "location.href")
	for _, v := range list {
		for _, n := range v.Nodes {
			p.t.Errorf("%s: axe: %s (%s): %s\n%s\n%s", where, v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
		}
	}
	if over := Eval[int](p, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
		p.t.Errorf("%s: the page is %d points wider than the window", where, over)
	}
}

// Screenshot writes what the window shows to NAME.png in the folder that
// SHINGLE_TEST_SCREENSHOTS names; without it nothing is done.
func (p *Page) Screenshot(name string) {
	p.t.Helper()
	folder := os.Getenv("SHINGLE_TEST_SCREENSHOTS")
	if folder == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	p.must("take a screenshot", err)
	picture, err := png.Decode(bytes.NewReader(shot))
	p.must("read the screenshot", err)
	var small bytes.Buffer
	p.must("write the screenshot", (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, picture))
	p.must("write the screenshot", os.WriteFile(filepath.Join(folder, name+".png"), small.Bytes(), 0o644))
}

func (p *Page) must(what string, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%s: %v; the page says:\n%s", what, err, p.says())
	}
}

// says is what the page shows, for failures.
func (p *Page) says() string {
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return text
}

// quote is a string of JavaScript.
func quote(s string) string {
	data, _ := json.Marshal(s) // a string cannot fail
	return string(data)
}
