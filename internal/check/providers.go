package check

import "strings"

// provider is a DNS provider as its customers meet it.
type provider struct {
	name    string
	servers []string // suffixes of the names of its name servers
	style   nameStyle
	apex    string // the type of record with which the apex can follow a name; empty: none
	dot     bool   // a value that is a name needs a final dot
	hint    string // where things differ there
}

// nameStyle is what the name field takes.
type nameStyle byte

const (
	relative      nameStyle = iota // "blog", and "@" for the apex
	relativeBlank                  // "blog", and nothing for the apex
	fullName                       // "blog.customer.com"
)

// providers are known by their name servers. What their forms take changes now and
// then: it is help with typing, and no verdict depends on it.
var providers = []provider{
	{name: "GoDaddy", servers: []string{"domaincontrol.com"}, style: relative},
	{name: "Namecheap", servers: []string{"registrar-servers.com", "namecheaphosting.com"}, style: relative, apex: "ALIAS"},
	{name: "Cloudflare", servers: []string{"ns.cloudflare.com", "secondary.cloudflare.com"}, style: relative, apex: "CNAME", hint: `set the proxy status to "DNS only" (grey cloud)`},
	{name: "Amazon Route 53", servers: []string{"awsdns"}, style: relativeBlank},
	{name: "Squarespace (formerly Google Domains)", servers: []string{"googledomains.com", "squarespacedns.com"}, style: relative, apex: "ALIAS"},
	{name: "Google Cloud DNS", servers: []string{"ns-cloud-a1.googledomains.com"}, style: fullName, dot: true},
	{name: "IONOS", servers: []string{"ui-dns.com", "ui-dns.org", "ui-dns.de", "ui-dns.biz", "1and1.com"}, style: relative},
	{name: "OVHcloud", servers: []string{"ovh.net", "anycast.me"}, style: relativeBlank, dot: true},
	{name: "Gandi", servers: []string{"gandi.net"}, style: relative, apex: "ALIAS", dot: true},
	{name: "Hover", servers: []string{"hover.com"}, style: relative},
	{name: "DigitalOcean", servers: []string{"digitalocean.com"}, style: relative, dot: true},
	{name: "Wix", servers: []string{"wixdns.net"}, style: relativeBlank},
	{name: "Vercel", servers: []string{"vercel-dns.com"}, style: relativeBlank, apex: "ALIAS"},
	{name: "Netlify (NS1)", servers: []string{"nsone.net"}, style: fullName, apex: "ALIAS"},
	{name: "Strato", servers: []string{"rzone.de", "strato.de"}, style: relative},
	{name: "united-domains", servers: []string{"udag.de", "udag.net", "udag.org", "ud-dns.de"}, style: relative},
	{name: "home.pl", servers: []string{"home.pl"}, style: relativeBlank},
	{name: "Hetzner", servers: []string{"hetzner.com", "hetzner.de", "first-ns.de", "second-ns.de", "second-ns.com"}, style: relative, dot: true},
	{name: "Azure DNS", servers: []string{"azure-dns.com", "azure-dns.net", "azure-dns.org", "azure-dns.info"}, style: relative},
	{name: "Porkbun", servers: []string{"porkbun.com"}, style: relativeBlank, apex: "ALIAS"},
	{name: "Name.com", servers: []string{"name.com"}, style: relativeBlank, apex: "ANAME"},
	{name: "DNSimple", servers: []string{"dnsimple.com", "dnsimple-edge.net", "dnsimple-edge.org"}, style: relativeBlank, apex: "ALIAS"},
	{name: "DNS Made Easy", servers: []string{"dnsmadeeasy.com"}, style: relativeBlank, apex: "ANAME", dot: true},
	{name: "easyDNS", servers: []string{"easydns.com", "easydns.net", "easydns.org", "easydns.info"}, style: relativeBlank, apex: "ANAME"},
	{name: "Akamai Edge DNS", servers: []string{"akam.net"}, style: fullName},
	{name: "Linode", servers: []string{"linode.com"}, style: relativeBlank},
	{name: "Vultr", servers: []string{"vultr.com"}, style: relativeBlank},
	{name: "Bluehost", servers: []string{"bluehost.com"}, style: relative},
	{name: "HostGator", servers: []string{"hostgator.com"}, style: fullName, dot: true},
	{name: "DreamHost", servers: []string{"dreamhost.com"}, style: relativeBlank, dot: true},
	{name: "SiteGround", servers: []string{"siteground.net", "sgvps.net"}, style: relativeBlank},
	{name: "Hostinger", servers: []string{"dns-parking.com", "hostinger.com"}, style: relative, apex: "ALIAS"},
	{name: "Network Solutions", servers: []string{"worldnic.com"}, style: relative},
	{name: "Register.com", servers: []string{"register.com"}, style: relative},
	{name: "Dynadot", servers: []string{"dynadot.com"}, style: relativeBlank, apex: "ANAME"},
	{name: "Enom", servers: []string{"name-services.com"}, style: relative},
	{name: "Tucows (OpenSRS)", servers: []string{"systemdns.com", "mdnsservice.com"}, style: relativeBlank},
	{name: "WordPress.com", servers: []string{"wordpress.com"}, style: relative},
	{name: "Shopify", servers: []string{"shopifydns.com"}, style: relative},
	{name: "Infomaniak", servers: []string{"infomaniak.ch", "infomaniak.com"}, style: relativeBlank},
	{name: "Loopia", servers: []string{"loopia.se"}, style: relative},
	{name: "one.com", servers: []string{"one.com"}, style: relativeBlank, apex: "ALIAS"},
	{name: "TransIP", servers: []string{"transip.net", "transip.nl", "transip.eu"}, style: relative, apex: "ALIAS", dot: true},
	{name: "123-reg", servers: []string{"123-reg.co.uk"}, style: relative},
	{name: "Aruba", servers: []string{"technorail.com", "arubadns.net", "arubadns.cz", "arubabusiness.it"}, style: relative},
	{name: "Alibaba Cloud DNS", servers: []string{"hichina.com", "alidns.com"}, style: relative},
	{name: "DNSPod", servers: []string{"dnspod.net", "dnsv5.com", "dnspod.com"}, style: relative},
	{name: "nic.ru (RU-CENTER)", servers: []string{"nic.ru"}, style: relative, dot: true},
	{name: "REG.RU", servers: []string{"reg.ru"}, style: relative},
	{name: "INWX", servers: []string{"inwx.de", "inwx.eu", "inwx.com"}, style: relativeBlank, apex: "ALIAS"},
	{name: "bunny.net", servers: []string{"bunny.net"}, style: relativeBlank, apex: "CNAME"},
	{name: "deSEC", servers: []string{"desec.io", "desec.org"}, style: relativeBlank, dot: true},
	{name: "Sakura Internet", servers: []string{"dns.ne.jp"}, style: relative, apex: "ALIAS", dot: true},
	{name: "Onamae.com", servers: []string{"onamae.com"}, style: relativeBlank},
}

// unknownProvider is described in the terms of most.
var unknownProvider = provider{style: relative}

// providerOf recognises who runs name servers. The longest match counts.
func providerOf(servers []string) *provider {
	best, length := &unknownProvider, 0
	for i := range providers {
		for _, suffix := range providers[i].servers {
			for _, server := range servers {
				if len(suffix) > length && runs(suffix, server) {
					best, length = &providers[i], len(suffix)
				}
			}
		}
	}
	return best
}

// runs reports whether a name server belongs to who has the suffix. Route 53
// numbers its domains, as in awsdns-12.co.uk; Google Cloud DNS its servers.
func runs(suffix, server string) bool {
	switch suffix {
	case "awsdns":
		return strings.Contains(server, ".awsdns-")
	case "ns-cloud-a1.googledomains.com":
		return strings.HasPrefix(server, "ns-cloud-") && strings.HasSuffix(server, ".googledomains.com")
	}
	return server == suffix || strings.HasSuffix(server, "."+suffix)
}

// field returns what to type into the name field for a name in a zone.
func (p *provider) field(name, zone string) string {
	label, below := strings.CutSuffix(name, "."+zone)
	switch {
	case p.style == fullName && p.dot:
		return name + "."
	case p.style == fullName:
		return name
	case below:
		return label
	case p.style == relativeBlank:
		return ""
	}
	return "@"
}

// value returns what to type in for a name that a record leads to.
func (p *provider) value(name string) string {
	if p.dot {
		return name + "."
	}
	return name
}
