package shingle

import "strings"

// ReachedAt returns the URL by which a request reached a server, without a slash at
// its end: over TLS, or by a proxy that says so in X-Forwarded-Proto, and at which
// host. It is for telling whoever asked, and never to be trusted.
func ReachedAt(overTLS bool, forwardedProto, host string) string {
	if overTLS || strings.EqualFold(forwardedProto, "https") {
		return "https://" + host
	}
	return "http://" + host
}
