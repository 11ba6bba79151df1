package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	cloudflare "github.com/cloudflare/cloudflare-go/v7/custom_hostnames"
	"github.com/cloudflare/cloudflare-go/v7/option"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/memory"
)

const zone = "023e105f4ecef8ad9ca31a8372d0c353"

// hostnames is Cloudflare's own client, with another base URL and another token.
func (s *site) hostnames() *cloudflare.CustomHostnameService {
	return cloudflare.NewCustomHostnameService(option.WithBaseURL(s.url+"/client/v4/"), option.WithAPIToken(s.token), option.WithMaxRetries(0))
}

// watch has the same status for every host, or none.
type watch struct{ status shingle.Status }

func (w *watch) Status(context.Context, string) (shingle.Status, error) {
	if w.status.Host == "" {
		return w.status, shingle.ErrNotFound
	}
	return w.status, nil
}

// params fills the parameters of a call of the SDK, or a part of them: pairs are names
// and values. What the SDK offers for that is in its root package, and that has
// hundreds of others behind it.
func params[P any](pairs ...any) (p P) {
	fields := reflect.ValueOf(&p).Elem()
	if fields.FieldByName("ZoneID").IsValid() {
		pairs = append(pairs, "ZoneID", zone)
	}
	for i := 0; i < len(pairs); i += 2 {
		field := fields.FieldByName(pairs[i].(string))
		field.FieldByName("Value").Set(reflect.ValueOf(pairs[i+1]).Convert(field.FieldByName("Value").Type()))
		field.FieldByName("Present").SetBool(true)
	}
	return p
}

// moved is an API for who comes from Cloudflare.
func moved(t *testing.T, change ...func(*api.Config)) *site {
	return open(t, &memory.Store{}, append([]func(*api.Config){func(c *api.Config) {
		c.CloudflareZone, c.Blobs, c.Target = zone, &memory.Store{}, "https://app.example.net"
		c.CADirectories = []string{"https://acme-v02.api.letsencrypt.org/directory"}
		c.Certificates, c.Checker = &shelf{}, &lens{}
	}}, change...)...)
}

// refusal returns the codes of an error of the client's, each with what it points to.
func refusal(t *testing.T, err error) (status int, codes []string) {
	t.Helper()
	var refused *cloudflare.Error
	if !errors.As(err, &refused) {
		t.Fatalf("no error of the API's: %v", err)
	}
	for _, e := range refused.Errors {
		codes = append(codes, strings.TrimSpace(fmt.Sprint(e.Code, " ", e.Source.Pointer)))
	}
	return refused.StatusCode, codes
}

// TestCloudflare_ItsOwnClient goes through a hostname's life with Cloudflare's SDK.
func TestCloudflare_ItsOwnClient(t *testing.T) {
	eye, certs := &watch{}, &shelf{}
	s := moved(t, func(c *api.Config) { c.Statuses, c.Certificates = eye, certs })
	hosts, ctx := s.hostnames(), t.Context()

	made, err := hosts.New(ctx, params[cloudflare.CustomHostnameNewParams]("Hostname", "Blog.customer.com",
		"CustomMetadata", map[string]string{"customer": "7"}, "CustomOriginServer", "eu.app.example.net",
		"SSL", params[cloudflare.CustomHostnameNewParamsSSL]("Method", "http", "Type", "dv", "CertificateAuthority", "lets_encrypt",
			"Settings", params[cloudflare.CustomHostnameNewParamsSSLSettings]("MinTLSVersion", "1.3", "HTTP2", "on"))))
	check(t, err)
	if made.Hostname != "blog.customer.com" || len(made.ID) != 36 || made.Status != "pending" || made.SSL.Status != "initializing" ||
		made.CustomMetadata["customer"] != "7" || made.CustomOriginServer != "eu.app.example.net" || made.SSL.Settings.MinTLSVersion != "1.3" ||
		made.OwnershipVerification.Name != "_shingle-challenge.blog.customer.com" || made.OwnershipVerification.Type != "txt" || !made.CreatedAt.Equal(clock) {
		t.Errorf("made %s", made.JSON.RawJSON())
	}
	row, err := s.client().Domain(ctx, "blog.customer.com")
	if err != nil || row.Origin != "https://eu.app.example.net" || row.UpdatedBy != "test" {
		t.Errorf("the row is %+v, %v", row, err)
	}

	_, err = hosts.New(ctx, params[cloudflare.CustomHostnameNewParams]("Hostname", "blog.customer.com"))
	if status, codes := refusal(t, err); status != http.StatusConflict || codes[0] != "1406" {
		t.Errorf("twice: %d %v", status, codes)
	}

	eye.status = shingle.Status{Host: "blog.customer.com", State: shingle.StateActive, Who: shingle.WhoNobody}
	certs.list = []shingle.Certificate{{Host: "blog.customer.com", State: shingle.CertificateValid, Issuer: "https://acme-v02.api.letsencrypt.org/directory", Serial: "0a", NotBefore: clock, NotAfter: clock.Add(time.Hour)}}
	got, err := hosts.Get(ctx, made.ID, params[cloudflare.CustomHostnameGetParams]())
	check(t, err)
	if got.ID != made.ID || got.Status != "active" || got.SSL.Status != "active" || got.SSL.CertificateAuthority != "lets_encrypt" ||
		got.OwnershipVerification.Name != "" || !got.SSL.ExpiresOn.Equal(clock.Add(time.Hour)) {
		t.Errorf("got %s", got.JSON.RawJSON())
	}

	edited, err := hosts.Edit(ctx, made.ID, params[cloudflare.CustomHostnameEditParams]("CustomMetadata", map[string]string{"plan": "pro"}))
	check(t, err)
	if edited.ID != made.ID || edited.CustomMetadata["plan"] != "pro" || len(edited.CustomMetadata) != 1 || edited.CustomOriginServer != "eu.app.example.net" {
		t.Errorf("edited %s", edited.JSON.RawJSON())
	}

	gone, err := hosts.Delete(ctx, made.ID, params[cloudflare.CustomHostnameDeleteParams]())
	if err != nil || gone.ID != made.ID {
		t.Errorf("deleted %+v, %v", gone, err)
	}
	_, err = hosts.Get(ctx, made.ID, params[cloudflare.CustomHostnameGetParams]())
	if status, codes := refusal(t, err); status != http.StatusNotFound || codes[0] != "1436" {
		t.Errorf("after that: %d %v", status, codes)
	}
	if !slices.Contains(certs.retired, "drop blog.customer.com") {
		t.Error("its key was not destroyed")
	}
}

// TestCloudflare_ItsOwnClientPages lists with the SDK, page by page and by filters.
func TestCloudflare_ItsOwnClientPages(t *testing.T) {
	s := moved(t)
	client := s.client()
	for i := range 57 {
		if _, err := client.CreateDomain(t.Context(), api.NewDomain{Host: fmt.Sprintf("h%02d.customer.com", i)}); err != nil {
			t.Fatal(err)
		}
	}
	all := func(p cloudflare.CustomHostnameListParams) (hosts []string) {
		t.Helper()
		pages := s.hostnames().ListAutoPaging(t.Context(), p)
		for pages.Next() {
			h := pages.Current()
			if h.ID != h.Hostname {
				t.Errorf("the ID of a domain of /v1 is %s", h.ID)
			}
			hosts = append(hosts, h.Hostname)
		}
		check(t, pages.Err())
		return hosts
	}
	if hosts := all(params[cloudflare.CustomHostnameListParams]("PerPage", 10.0)); len(hosts) != 57 || !slices.IsSorted(hosts) {
		t.Errorf("%d hostnames: %v", len(hosts), hosts)
	}
	for name, tt := range map[string]struct {
		p    cloudflare.CustomHostnameListParams
		want int
	}{
		"contain": {params[cloudflare.CustomHostnameListParams]("Hostname", params[cloudflare.CustomHostnameListParamsHostname]("Contain", "5.cust")), 6},
		"prefix":  {params[cloudflare.CustomHostnameListParams]("Hostname", params[cloudflare.CustomHostnameListParamsHostname]("StartsWith", "h1")), 10},
		"exact":   {params[cloudflare.CustomHostnameListParams]("Hostname", params[cloudflare.CustomHostnameListParamsHostname]("Exact", "h07.customer.com")), 1},
		"none":    {params[cloudflare.CustomHostnameListParams]("Hostname", params[cloudflare.CustomHostnameListParamsHostname]("Exact", "h99.customer.com")), 0},
		"id":      {params[cloudflare.CustomHostnameListParams]("ID", "h08.customer.com"), 1},
		"wild":    {params[cloudflare.CustomHostnameListParams]("Wildcard", true), 0},
		"origin":  {params[cloudflare.CustomHostnameListParams]("CustomOriginServer", "eu.example.net"), 0},
		"status":  {params[cloudflare.CustomHostnameListParams]("HostnameStatus", "pending"), 57},
		"active":  {params[cloudflare.CustomHostnameListParams]("HostnameStatus", "active"), 0},
		"ssl":     {params[cloudflare.CustomHostnameListParams]("SSLStatus", "initializing", "SSL", 1.0), 57},
	} {
		if hosts := all(tt.p); len(hosts) != tt.want {
			t.Errorf("%s: %v", name, hosts)
		}
	}
}

// TestCloudflare_ItsOwnClientFallback reads and repeats the fallback origin.
func TestCloudflare_ItsOwnClientFallback(t *testing.T) {
	s := moved(t)
	fallback, ctx := s.hostnames().FallbackOrigin, t.Context()
	if got, err := fallback.Get(ctx, params[cloudflare.FallbackOriginGetParams]()); err != nil || got.Origin != "app.example.net" || got.Status != "active" {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := fallback.Update(ctx, params[cloudflare.FallbackOriginUpdateParams]("Origin", "App.example.net")); err != nil || got.Origin != "app.example.net" {
		t.Errorf("put %+v, %v", got, err)
	}
	_, err := fallback.Update(ctx, params[cloudflare.FallbackOriginUpdateParams]("Origin", "other.example.net"))
	if status, codes := refusal(t, err); status != 400 || codes[0] != "99001 /origin" {
		t.Errorf("another: %d %v", status, codes)
	}
	_, err = fallback.Delete(ctx, params[cloudflare.FallbackOriginDeleteParams]())
	if status, codes := refusal(t, err); status != 400 || codes[0] != "99001 /origin" {
		t.Errorf("deleted: %d %v", status, codes)
	}
}
