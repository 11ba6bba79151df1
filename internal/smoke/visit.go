package smoke

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// unrecognizedName is what crypto/tls says of the alert of RFC 6066 section 3, for which
// it has no type.
const unrecognizedName = "remote error: tls: unrecognized name"

// visitor asks for a host over HTTPS, at an address, or wherever its name leads to when
// that is invalid.
type visitor struct {
	*Installation
	host string
	at   netip.AddrPort
}

// productError is what an edge that is well says of the product: to ask again is no use.
type productError struct{ error }

// visit asks an edge for its mark, and then for the product. It returns what was found.
func (v *visitor) visit(ctx context.Context) (string, error) {
	client := v.client()
	defer client.CloseIdleConnections()
	mark, err := v.get(ctx, client, shingle.ProbePath+shingle.NewProbeNonce())
	if err != nil {
		return "", err
	}
	if mark.header.Get(shingle.ProbeField) == "" {
		return "", fmt.Errorf("another server answers, %s, without the header %s", mark.status, shingle.ProbeField)
	}
	path := "/"
	if v.Echo != "" {
		path = v.Echo
	}
	is, err := v.get(ctx, client, path)
	if err != nil {
		return "", err
	}
	found := fmt.Sprintf("%s, certificate %x, product %d", is.proto, is.serial, is.code)
	switch {
	case is.code >= 500:
		return "", productError{fmt.Errorf("the edge answers, the product does not: %s %s", is.status, first(is.body))}
	case v.Echo == "":
		return found, nil
	case !v.shown(is.body):
		return "", productError{fmt.Errorf("the answer to %s, %s, does not show the domain as User-Custom-Domain: the product did not get it, or does not show it", v.Echo, is.status)}
	}
	return found + ", User-Custom-Domain arrives", nil
}

// answer is one of a server.
type answer struct {
	proto, status string
	code          int
	header        http.Header
	serial        []byte // of the certificate
	body          []byte
}

func (v *visitor) client() *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: v.Roots}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			switch {
			case v.at.IsValid():
				address = v.at.String()
			case v.dialTo != nil:
				address = v.dialTo(address)
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
	return &http.Client{
		Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (v *visitor) get(ctx context.Context, client *http.Client, path string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+v.host+path, nil)
	if err != nil {
		return answer{}, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, errors.New(withoutURL(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answer{}, err
	}
	return answer{resp.Proto, resp.Status, resp.StatusCode, resp.Header, resp.TLS.PeerCertificates[0].SerialNumber.Bytes(), body}, nil
}

// shown reports whether an answer has the header in it, with the host as its value, in
// whatever form.
func (v *visitor) shown(body []byte) bool {
	return regexp.MustCompile(`(?i)user-custom-domain\W{1,12}` + regexp.QuoteMeta(v.host)).Match(body)
}

// refused reports whether the host is refused in the handshake.
func (v *visitor) refused(ctx context.Context) error {
	client := v.client()
	defer client.CloseIdleConnections()
	_, err := v.get(ctx, client, "/")
	switch {
	case err == nil:
		return errors.New("it is served")
	case !strings.HasSuffix(err.Error(), unrecognizedName):
		return fmt.Errorf("it is not said why it is not served: %w", err)
	}
	return nil
}

// first is the first line of a body, as far as it is worth showing.
func first(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return strconv.QuoteToASCII(line[:min(len(line), 120)])
}
