package check

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"

	"github.com/shingle-proxy/shingle"
)

// visitPlainly looks whether plain HTTP leads to HTTPS, at every address: browsers
// take any.
func (p *httpsProbe) visitPlainly(ctx context.Context, r *shingle.HTTPSResult, tried []attempt) {
	leads := make([]bool, len(tried))
	var all sync.WaitGroup
	for i := range tried {
		all.Go(func() { leads[i] = p.redirects(ctx, tried[i].Address) })
	}
	all.Wait()
	var not []netip.Addr
	for i := range tried {
		if !leads[i] {
			not = append(not, tried[i].Address)
		}
	}
	if r.Redirects = len(not) == 0; !r.Redirects {
		r.Notes = append(r.Notes, found(shingle.ReasonNoHTTPRedirect, "Plain HTTP does not lead to HTTPS at %s: visitors who type the name alone may not get through.", joinAddresses(not)))
	}
}

func (p *httpsProbe) redirects(ctx context.Context, addr netip.Addr) bool {
	h, err := p.getPlain(ctx, addr, "/")
	if err != nil {
		return false
	}
	to, err := url.Parse(h.header.Get("Location"))
	return err == nil && h.status/100 == 3 && to.Scheme == "https" && strings.EqualFold(to.Hostname(), p.host)
}

// visit looks at the first page as a visitor does, with the redirects that stay on
// the host.
func (p *httpsProbe) visit(ctx context.Context, r *shingle.HTTPSResult, addr netip.Addr) {
	path, seen := "/", map[string]bool{}
	for range maxRedirect {
		seen[path] = true
		h, err := p.getSecure(ctx, addr, path)
		if err != nil {
			return
		}
		r.Status = h.status
		next, stays := p.follows(path, h)
		if !stays {
			p.visitTwin(ctx, r, addr, h)
			break
		}
		if path = next; seen[path] {
			r.Finding = found(shingle.ReasonRedirectLoop, "The site redirects in a circle at %s.", printable(path))
			return
		}
	}
	if r.Status == http.StatusBadGateway || r.Status == http.StatusServiceUnavailable || r.Status == http.StatusGatewayTimeout {
		r.Notes = append(r.Notes, found(shingle.ReasonOriginFailing, "The domain works, but the product behind it answers with %d.", r.Status))
	}
}

// visitTwin follows a redirect between a name and the same with www in front of it:
// two settings of which each sends visitors to the other are a common mistake. Both
// are asked for at the same address; where the twin is elsewhere nothing is said.
func (p *httpsProbe) visitTwin(ctx context.Context, r *shingle.HTTPSResult, addr netip.Addr, h head) {
	to, err := url.Parse(h.header.Get("Location"))
	if err != nil || h.status/100 != 3 || to.Scheme != "https" || to.Hostname() != "www."+p.host && p.host != "www."+to.Hostname() {
		return
	}
	twin := &httpsProbe{Checker: p.Checker, host: to.Hostname()}
	back, err := twin.getSecure(ctx, addr, to.RequestURI())
	if err != nil || back.status/100 != 3 {
		return
	}
	if from, err := url.Parse(back.header.Get("Location")); err == nil && from.Hostname() == p.host {
		r.Finding = found(shingle.ReasonRedirectLoop, "%s leads to %s, and that leads back: visitors go in circles. Have one of them stay.", p.host, twin.host)
	}
}

// follows returns where a redirect leads, when that is on the same host by HTTPS.
func (p *httpsProbe) follows(path string, h head) (next string, stays bool) {
	if h.status/100 != 3 {
		return "", false
	}
	from := &url.URL{Scheme: "https", Host: p.authority("https")}
	at, err := from.Parse(path)
	if err != nil {
		return "", false
	}
	to, err := at.Parse(h.header.Get("Location"))
	if err != nil || to.Scheme != "https" || to.Host != from.Host || len(to.RequestURI()) > maxPath {
		return "", false
	}
	return to.RequestURI(), true
}

const maxPath = 2048
