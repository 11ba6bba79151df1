package smoke

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
)

// dns asks each name server for the name that customers' records lead to, and for one
// that a tenant's might: these are many, and cannot be guessed.
func (x *Installation) dns(ctx context.Context) (string, error) {
	label := make([]byte, 10)
	_, _ = rand.Read(label) // never fails
	var wrong []string
	servers := 0
	for _, name := range []string{x.Target, hex.EncodeToString(label) + "." + x.Target} {
		all, err := x.Names.NameServers(ctx, name)
		switch {
		case errors.Is(err, shingle.ErrUnavailable):
			return "", &shingle.SmokeFault{Skipped: true, Reason: shingle.MessageOf(err), Do: "run it where port 53 of the Internet can be reached"}
		case err != nil:
			wrong = append(wrong, name+": "+shingle.MessageOf(err))
			continue
		}
		servers = len(all)
		for _, server := range slices.Sorted(maps.Keys(all)) {
			if why := x.leads(all[server]); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s has for %s %s", server, name, why))
			}
		}
	}
	if len(wrong) > 0 {
		return "", &shingle.SmokeFault{
			Reason: strings.Join(wrong, "; "),
			Do:     fmt.Sprintf("see that the registrar delegates the zone to the name servers that shingle deploy has printed, and that %s and *.%s have their records: A, %s", x.Target, x.Target, addressList(x.addresses())),
		}
	}
	return fmt.Sprintf("both lead to the front, at %d name servers", servers), nil
}

// leads says why these addresses do not lead to the front.
func (x *Installation) leads(addresses []netip.Addr) string {
	switch {
	case addresses == nil:
		return "no answer"
	case len(addresses) == 0:
		return "no address"
	case slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !slices.Contains(x.addresses(), a) }):
		return addressList(addresses) + ", which is not the front's"
	}
	return ""
}

func (x *Installation) addresses() (list []netip.Addr) {
	for _, a := range x.Front {
		list = append(list, a.HTTPS.Addr())
	}
	return list
}

func addressList(addresses []netip.Addr) string {
	var list []string
	for _, a := range addresses {
		list = append(list, a.String())
	}
	return strings.Join(list, ", ")
}

// http asks each address for its health, in plain HTTP, as what leads visitors there does.
func (x *Installation) http(ctx context.Context) (string, error) {
	var wrong []string
	var well []netip.Addr
	for _, a := range x.Front {
		if !a.HTTP.IsValid() {
			continue
		}
		if err := health(ctx, a.HTTP); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", a.HTTP.Addr(), err))
		}
		well = append(well, a.HTTP.Addr())
	}
	if len(wrong) > 0 {
		return "", &shingle.SmokeFault{
			Reason: strings.Join(wrong, "; "),
			Do:     "no answer: no edge has the address, or a firewall keeps port 80 shut; 503: the edge says why; shingle status, and journalctl -u shingle on the instance",
		}
	}
	return addressList(well) + ": healthy", nil
}

func health(ctx context.Context, at netip.AddrPort) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/health", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: this address is what is tried
	resp, err := client.Do(r)
	if err != nil {
		return errors.New("no answer: " + withoutURL(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	switch said := strings.TrimSpace(string(text)); {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", resp.Status, said)
	case said != "Im healthy":
		return errors.New("another server answers")
	}
	return nil
}

// withoutURL is an error of a request without the URL, which is said elsewhere.
func withoutURL(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "it took too long"
	}
	return err.Error()
}
