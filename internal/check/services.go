package check

import (
	"net/netip"
	"strings"
)

// serviceKind is what a known service does with a name that points to it.
type serviceKind byte

const (
	webHost serviceKind = iota // serves a site of its own
	cdn                        // a proxy, which may pass requests on to us
	parking                    // shows a placeholder
)

// service is a CDN, web host or placeholder that customers' names point to.
type service struct {
	name    string
	kind    serviceKind
	aliases []string // suffixes of CNAME targets
	nets    []netip.Prefix
}

// services are known by where their names lead: networks that the operators
// publish, and records that web hosts tell their customers to set. One that is
// missing or has moved costs a name in a message, and no verdict but that of a CDN
// or placeholder, which then reads as an address elsewhere.
var services = []service{
	{name: "Cloudflare", kind: cdn, aliases: []string{"cdn.cloudflare.net"}, nets: prefixes(
		"173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "141.101.64.0/18", "108.162.192.0/18",
		"190.93.240.0/20", "188.114.96.0/20", "197.234.240.0/22", "198.41.128.0/17", "162.158.0.0/15", "104.16.0.0/13",
		"104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22",
		"2400:cb00::/32", "2606:4700::/32", "2803:f800::/32", "2405:b500::/32", "2405:8100::/32", "2a06:98c0::/29", "2c0f:f248::/32")},
	{name: "Fastly", kind: cdn, aliases: []string{"fastly.net", "fastlylb.net"}, nets: prefixes(
		"23.235.32.0/20", "43.249.72.0/22", "103.244.50.0/24", "103.245.222.0/23", "103.245.224.0/24", "104.156.80.0/20",
		"140.248.64.0/18", "140.248.128.0/17", "146.75.0.0/17", "151.101.0.0/16", "157.52.64.0/18", "167.82.0.0/17",
		"167.82.128.0/20", "167.82.160.0/20", "167.82.224.0/20", "172.111.64.0/18", "185.31.16.0/22", "199.27.72.0/21",
		"199.232.0.0/16", "2a04:4e40::/32", "2a04:4e42::/32")},
	{name: "Imperva", kind: cdn, aliases: []string{"incapdns.net", "impervadns.net"}, nets: prefixes(
		"199.83.128.0/21", "198.143.32.0/19", "149.126.72.0/21", "103.28.248.0/22", "45.64.64.0/22", "185.11.124.0/22",
		"192.230.64.0/18", "107.154.0.0/16", "45.60.0.0/16", "45.223.0.0/16", "131.125.128.0/17", "2a02:e980::/29")},
	{name: "Sucuri", kind: cdn, aliases: []string{"sucuri.net"}, nets: prefixes(
		"192.88.134.0/23", "185.93.228.0/22", "66.248.200.0/22", "208.109.0.0/22", "2a02:fe80::/29")},
	{name: "Akamai", kind: cdn, aliases: []string{"edgekey.net", "edgesuite.net", "akamaiedge.net", "akamai.net", "akamaized.net"}},
	{name: "Amazon CloudFront", kind: cdn, aliases: []string{"cloudfront.net"}},
	{name: "Azure Front Door", kind: cdn, aliases: []string{"azurefd.net", "azureedge.net", "t-msedge.net"}},
	{name: "bunny.net", kind: cdn, aliases: []string{"b-cdn.net"}},
	{name: "KeyCDN", kind: cdn, aliases: []string{"kxcdn.com"}},
	{name: "CDN77", kind: cdn, aliases: []string{"cdn77.org"}},
	{name: "StackPath", kind: cdn, aliases: []string{"stackpathcdn.com", "hwcdn.net"}},
	{name: "DDoS-Guard", kind: cdn, nets: prefixes("186.2.160.0/20", "190.115.16.0/20", "185.129.100.0/22")},

	{name: "Vercel", aliases: []string{"vercel-dns.com", "vercel.app"}, nets: prefixes("76.76.21.0/24", "66.33.60.0/24")},
	{name: "Netlify", aliases: []string{"netlify.app", "netlify.com", "netlifyglobalcdn.com"}, nets: prefixes("75.2.60.5/32")},
	{name: "GitHub Pages", aliases: []string{"github.io"}, nets: prefixes("185.199.108.0/22", "2606:50c0:8000::/46")},
	{name: "GitLab Pages", aliases: []string{"gitlab.io"}, nets: prefixes("35.185.44.232/32")},
	{name: "Wix", aliases: []string{"wixdns.net", "wixsite.com"}, nets: prefixes("185.230.60.0/22", "23.236.62.147/32")},
	{name: "Squarespace", aliases: []string{"squarespace.com"}, nets: prefixes("198.185.159.0/24", "198.49.23.0/24")},
	{name: "Shopify", aliases: []string{"myshopify.com"}, nets: prefixes("23.227.38.0/23", "2620:127:f00f::/48")},
	{name: "Webflow", aliases: []string{"webflow.com"}, nets: prefixes("75.2.70.75/32", "99.83.190.102/32", "198.202.211.1/32")},
	{name: "WordPress.com", aliases: []string{"wordpress.com", "wp.com"}, nets: prefixes("192.0.78.0/24")},
	{name: "WP Engine", aliases: []string{"wpengine.com", "wpeproxy.com"}},
	{name: "Heroku", aliases: []string{"herokudns.com", "herokuapp.com", "herokussl.com"}},
	{name: "Weebly", aliases: []string{"weebly.com", "editmysite.com"}, nets: prefixes("199.34.228.0/22")},
	{name: "HubSpot", aliases: []string{"hubspot.net", "hs-sites.com"}},
	{name: "Ghost", aliases: []string{"ghost.io"}},
	{name: "Firebase Hosting", aliases: []string{"web.app", "firebaseapp.com"}, nets: prefixes("199.36.158.100/32")},
	{name: "Google Sites", aliases: []string{"ghs.googlehosted.com", "ghs.google.com"}},
	{name: "Blogger", aliases: []string{"blogspot.com"}},
	{name: "Tumblr", aliases: []string{"domains.tumblr.com"}, nets: prefixes("66.6.44.4/32")},
	{name: "Render", aliases: []string{"onrender.com"}, nets: prefixes("216.24.57.0/24")},
	{name: "Fly.io", aliases: []string{"fly.dev"}},
	{name: "Azure App Service", aliases: []string{"azurewebsites.net"}},

	{name: "GoDaddy's placeholder", kind: parking, nets: prefixes("34.102.136.180/32", "3.33.130.190/32", "15.197.148.33/32")},
	{name: "Namecheap's placeholder", kind: parking, aliases: []string{"parkingpage.namecheap.com"}, nets: prefixes("192.64.119.0/24", "162.255.119.0/24")},
	{name: "Sedo's placeholder", kind: parking, aliases: []string{"sedoparking.com"}, nets: prefixes("64.190.62.0/23", "91.195.240.0/23")},
	{name: "Bodis' placeholder", kind: parking, aliases: []string{"bodis.com"}, nets: prefixes("199.59.240.0/22")},
	{name: "ParkingCrew's placeholder", kind: parking, aliases: []string{"parkingcrew.net"}, nets: prefixes("185.53.176.0/22")},
}

// parkingServers are name servers of domains that are for sale or have expired.
var parkingServers = []string{
	"sedoparking.com", "parkingcrew.net", "bodis.com", "above.com", "expired.reg.ru", "expirenotification.com",
	"dsredirection.com", "failed-whois-verification.namecheap.com", "pendingrenewaldeletion.com", "afternic.com",
}

// serviceOf recognises what a name points to, or returns nil.
func serviceOf(chain []string, addrs []netip.Addr) *service {
	for i := range services {
		for _, suffix := range services[i].aliases {
			for _, name := range chain {
				if name == suffix || strings.HasSuffix(name, "."+suffix) {
					return &services[i]
				}
			}
		}
	}
	for i := range services {
		for _, a := range addrs {
			if within(a, services[i].nets) {
				return &services[i]
			}
		}
	}
	return nil
}

func isParkingServer(servers []string) bool {
	for _, server := range servers {
		for _, suffix := range parkingServers {
			if server == suffix || strings.HasSuffix(server, "."+suffix) {
				return true
			}
		}
	}
	return false
}
