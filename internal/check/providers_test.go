package check

import (
	"net/netip"
	"testing"
)

func TestProviders(t *testing.T) {
	if len(providers) < 40 {
		t.Errorf("%d providers", len(providers))
	}
	for server, want := range map[string]string{
		"ns01.domaincontrol.com":          "GoDaddy",
		"dns1.registrar-servers.com":      "Namecheap",
		"ada.ns.cloudflare.com":           "Cloudflare",
		"ns-2048.awsdns-64.com":           "Amazon Route 53",
		"ns-1.awsdns-12.co.uk":            "Amazon Route 53",
		"ns-cloud-b2.googledomains.com":   "Google Cloud DNS",
		"ns-c1.squarespacedns.com":        "Squarespace (formerly Google Domains)",
		"ns1.googledomains.com":           "Squarespace (formerly Google Domains)",
		"ns1045.ui-dns.de":                "IONOS",
		"dns104.ovh.net":                  "OVHcloud",
		"ns-1-a.gandi.net":                "Gandi",
		"ns1.hover.com":                   "Hover",
		"ns2.digitalocean.com":            "DigitalOcean",
		"ns8.wixdns.net":                  "Wix",
		"ns1.vercel-dns.com":              "Vercel",
		"dns1.p01.nsone.net":              "Netlify (NS1)",
		"docks17.rzone.de":                "Strato",
		"ns.udag.de":                      "united-domains",
		"dns.home.pl":                     "home.pl",
		"helium.ns.hetzner.de":            "Hetzner",
		"ns1-01.azure-dns.com":            "Azure DNS",
		"evilregistrar-servers.com":       "",
		"registrar-servers.com.evil.test": "",
		"ns1.nobody.test":                 "",
	} {
		if got := providerOf([]string{server}).name; got != want {
			t.Errorf("%s: %q, not %q", server, got, want)
		}
	}
	if got := providerOf(nil); got != &unknownProvider {
		t.Errorf("no server: %q", got.name)
	}
	for _, x := range []struct{ style nameStyle }{{relative}, {relativeBlank}, {fullName}} {
		p := provider{style: x.style}
		for name, want := range map[string][3]string{
			"customer.com":      {"@", "", "customer.com"},
			"blog.customer.com": {"blog", "blog", "blog.customer.com"},
			"a.b.customer.com":  {"a.b", "a.b", "a.b.customer.com"},
			"*.customer.com":    {"*", "*", "*.customer.com"},
		} {
			if got := p.field(name, "customer.com"); got != want[x.style] {
				t.Errorf("style %d, %s: %q", x.style, name, got)
			}
		}
	}
}

func TestServices(t *testing.T) {
	for _, x := range []struct {
		alias, addr string
		want        string
		kind        serviceKind
	}{
		{"", "104.16.0.1", "Cloudflare", cdn}, {"", "2606:4700::6810:1", "Cloudflare", cdn}, {"", "151.101.1.195", "Fastly", cdn},
		{"d111.cloudfront.net", "13.32.0.1", "Amazon CloudFront", cdn}, {"x.edgekey.net", "", "Akamai", cdn},
		{"cname.vercel-dns.com", "", "Vercel", webHost}, {"", "76.76.21.21", "Vercel", webHost}, {"x.github.io", "185.199.108.153", "GitHub Pages", webHost},
		{"shops.myshopify.com", "", "Shopify", webHost}, {"", "34.102.136.180", "GoDaddy's placeholder", parking},
		{"notcloudfront.net", "8.8.8.8", "", webHost}, {"cloudfront.net.evil.test", "", "", webHost},
	} {
		var chain []string
		var addrs []netip.Addr
		if x.alias != "" {
			chain = append(chain, x.alias)
		}
		if x.addr != "" {
			addrs = append(addrs, netip.MustParseAddr(x.addr))
		}
		got := serviceOf(chain, addrs)
		if got == nil {
			got = &service{}
		}
		if got.name != x.want || got.kind != x.kind {
			t.Errorf("%+v: %s, %d", x, got.name, got.kind)
		}
	}
}
