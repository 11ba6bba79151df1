// Package browsertest runs pages in a headless Chromium, for tests: it opens, fills in
// and clicks, has axe look for what people cannot use, and keeps account of every
// request.
package browsertest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
)

const (
	startWait = time.Minute           // for the browser, on a busy machine
	patience  = 45 * time.Second      // for what a test waits for
	glance    = 50 * time.Millisecond // between looks at it
)

// Browser is a Chromium that ends with its test.
type Browser struct {
	ctx context.Context
	axe string // source of axe-core
}

// Start starts a browser, or skips the test where there is none. It reaches nothing but
// this machine: 127.0.0.1 and localhost, with the names below that.
func Start(t *testing.T) *Browser {
	t.Helper()
	path, axe := os.Getenv("SHINGLE_TEST_CHROMIUM"), os.Getenv("SHINGLE_TEST_AXE")
	if path == "" || axe == "" {
		t.Skip("SHINGLE_TEST_CHROMIUM and SHINGLE_TEST_AXE are not set: run `make test`, or `go run ./scripts/servers -only chromium go test` with the package")
	}
	source, err := os.ReadFile(axe)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, // which root cannot have
		chromedp.WSURLReadTimeout(startWait),
		chromedp.Flag("disable-site-isolation-trials", true), // one account of the requests, of frames too
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("lang", "en-GB"),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost"))...)
	t.Cleanup(end)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return &Browser{ctx: ctx, axe: string(source)}
}

// Look is what a page is looked at with.
type Look struct {
	Width, Height int
	Dark          bool
	Phone         bool // with touch, at two pixels a point
	NoScript      bool
	// Insecure accepts certificates that nobody vouches for.
	Insecure bool
}

// Desktop and Phone are the usual looks.
var (
	Desktop = Look{Width: 1280, Height: 800}
	Phone   = Look{Width: 390, Height: 844, Phone: true}
)

// Page opens an empty page with cookies of its own. The test fails with what its pages
// report: scripts that throw, and everything that a content security policy refused.
func (b *Browser) Page(t *testing.T, look Look) *Page {
	t.Helper()
	return b.attach(b.ctx, t, look, chromedp.WithNewBrowserContext())
}

// attach opens a page, or takes one that is there, as the option says.
func (b *Browser) attach(parent context.Context, t *testing.T, look Look, what chromedp.ContextOption) *Page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, what)
	t.Cleanup(cancel)
	p := &Page{Browser: b, t: t, ctx: ctx, axe: b.axe, look: look}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a page: %v", err)
	}
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		t.Fatal(err)
	}
	p.setUp(look)
	t.Cleanup(p.report)
	return p
}

func (p *Page) setUp(look Look) {
	p.t.Helper()
	scheme, scale := "light", 1.0
	if look.Dark {
		scheme = "dark"
	}
	if look.Phone {
		scale = 2
	}
	_, err := chromedp.Call(p.ctx, network.Enable, network.EnableParams{})
	p.must("watch the network", err)
	_, err = chromedp.Call(p.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(look.Width), Height: int64(look.Height), DeviceScaleFactor: scale, Mobile: look.Phone})
	p.must("set the size", err)
	_, err = chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	p.must("set the colours", err)
	_, err = chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: look.NoScript})
	p.must("set scripting", err)
	_, err = chromedp.Call(p.ctx, runtime.Enable, cdp.Empty{})
	p.must("watch scripts", err)
	_, err = chromedp.Call(p.ctx, log.Enable, cdp.Empty{})
	p.must("watch the log", err)
	_, err = chromedp.Call(p.ctx, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: look.Insecure})
	p.must("set what certificates are taken", err)
}
