package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/shingle-proxy/shingle"
)

// cfQuery is what a list is asked for.
type cfQuery struct {
	page, perPage int
	tenant        string // of the caller; empty: all

	id      string // alone
	exact   string // a hostname
	contain string // part of one
	prefix  string // its beginning

	origin    string // custom_origin_server, as a row has it
	wildcard  string // true or false; empty: both
	status    string
	sslStatus string
}

// The statuses that Cloudflare has. Those that no domain can have here match none.
var (
	cfHostnameStatuses = []string{
		"active", "pending", "active_redeploying", "moved", "pending_deletion", "deleted", "pending_blocked", "pending_migration",
		"pending_provisioned", "test_pending", "test_active", "test_active_apex", "test_blocked", "test_failed", "provisioned", "blocked",
	}
	cfSSLStatuses = []string{
		"initializing", "pending_validation", "deleted", "pending_issuance", "pending_deployment", "pending_deletion", "pending_expiration",
		"expired", "active", "initializing_timed_out", "validation_timed_out", "issuance_timed_out", "deployment_timed_out", "deletion_timed_out",
		"pending_cleanup", "staging_deployment", "staging_active", "deactivating", "inactive", "backup_issued", "holding_deployment",
	}
)

const cfMostPages = 1_000_000

// cfQueryOf reads the parameters of a list. One that is not known is refused.
func cfQueryOf(v url.Values) (*cfQuery, error) {
	q := &cfQuery{page: 1, perPage: 20}
	names := 0
	for name := range v {
		value := v.Get(name)
		if len(v[name]) > 1 {
			return nil, cfRefuse(cfUnreadable, "?"+safeName(name), "%s may be given once", safeName(name))
		}
		if err := q.set(name, value); err != nil {
			return nil, err
		}
		switch name {
		case "id", "hostname", "hostname.exact", "hostname.contain", "hostname.startsWith":
			names++
		}
	}
	if names > 1 {
		return nil, cfRefuse(cfOneFilter, "?hostname", "Only one of id, hostname, hostname.exact, hostname.contain and hostname.startsWith may be given")
	}
	return q, nil
}

func (q *cfQuery) set(name, value string) (err error) {
	at := "?" + safeName(name)
	switch name {
	case "page":
		q.page, err = cfNumber(at, value, 1, cfMostPages)
	case "per_page":
		q.perPage, err = cfNumber(at, value, 1, 50)
	case "id":
		q.id = value
	case "hostname", "hostname.exact":
		if q.exact, err = shingle.NormalizeDomain(value); err != nil {
			return cfRefuse(cfBadHostname, at, "%s", shingle.MessageOf(err))
		}
	case "hostname.contain", "hostname.startsWith":
		if len(value) > shingle.MaxHost {
			return cfRefuse(cfBadContain, at, "Invalid %s query parameter. It has to be smaller than 254 characters", name)
		}
		if name == "hostname.contain" {
			q.contain = strings.ToLower(value)
		} else {
			q.prefix = strings.ToLower(value)
		}
	case "custom_origin_server":
		o, err := shingle.ParseOrigin(value)
		if err != nil {
			return cfRefuse(cfBadOrigin, at, "%s", shingle.MessageOf(err))
		}
		q.origin = o.String()
	case "wildcard":
		q.wildcard, err = value, cfWord(at, value, []string{"true", "false"})
	case "hostname_status":
		q.status, err = value, cfWord(at, value, cfHostnameStatuses)
	case "ssl_status":
		q.sslStatus, err = value, cfWord(at, value, cfSSLStatuses)
	case "ssl":
		return cfWord(at, value, []string{"0", "1"}) // every hostname has TLS
	case "direction":
		if value != "asc" {
			return cfUnsupportedAt(at, "only asc is supported: hostnames are listed in the order of the alphabet")
		}
	case "order":
		return cfUnsupportedAt(at, "it is not supported: hostnames are listed in the order of the alphabet")
	default:
		return cfUnsupportedAt(at, "there is no such filter here")
	}
	return err
}

func cfNumber(at, value string, least, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return least, cfRefuse(cfUnreadable, at, "%s must be a number from %d to %d", at[1:], least, most)
	}
	return n, nil
}

func cfWord(at, value string, words []string) error {
	if slices.Contains(words, value) {
		return nil
	}
	return cfRefuse(cfUnreadable, at, "%s must be one of %s", at[1:], strings.Join(words, ", "))
}

// takes reports whether a row is wanted, as far as the row tells.
func (q *cfQuery) takes(d *shingle.Domain) bool {
	return strings.Contains(d.Host, q.contain) && strings.HasPrefix(d.Host, q.prefix) &&
		(q.origin == "" || q.origin == d.Origin) &&
		(q.wildcard == "" || (q.wildcard == "true") == shingle.IsWildcard(d.Host))
}

// reads reports whether more than the row has to be read to tell.
func (q *cfQuery) reads() bool { return q.status != "" || q.sslStatus != "" }
