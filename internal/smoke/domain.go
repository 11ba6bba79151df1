package smoke

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// What tells a domain of ours from those of customers.
const (
	prefix = "shingle-smoke-" // of a name of its own
	tag    = "shingle-smoke"
	tenant = "shingle-smoke" // of one whose record we make, which proves that it is this tenant's
)

// newest is among how many of the newest domains left-overs are looked for.
const newest = 1000

// domain is the one that is tried with.
type domain struct {
	*Installation
	host   string
	target string // of its CNAME record; empty: it needs none
	begun  bool   // it may be there
	record bool   // its record may be there
}

func (d *domain) steps() []shingle.SmokeStep {
	d.host = d.Domain
	switch {
	case d.host != "":
	case d.Zone != nil:
		d.host = ownName(d.Zone.Name())
	default:
		d.host = ownName(cmp.Or(d.Below, d.Target))
	}
	steps := []shingle.SmokeStep{
		{Name: "left-overs", What: "what an earlier run has left", Within: lookTime, Needs: []string{"token"}, Do: d.leftOvers},
		{Name: "domain", What: "domain " + d.host + " is added", Within: lookTime, Needs: []string{"token"}, Do: d.add},
	}
	if d.own() {
		steps = append(steps, shingle.SmokeStep{Name: "record", What: "its CNAME record to the tenant's name is made", Within: recordTime, Needs: []string{"domain"}, Do: d.setRecord})
	}
	steps = append(steps, shingle.SmokeStep{Name: "active", What: "it has a certificate and is active", Within: d.Wait + lookTime, Needs: []string{"domain", "record"}, Do: d.active})
	if d.ByName {
		steps = append(steps, shingle.SmokeStep{Name: "https-by-name", What: "HTTPS, wherever the name leads to", Within: lookTime, Needs: []string{"active"}, Do: d.byName})
	}
	if len(d.Front) > 0 {
		steps = append(steps, shingle.SmokeStep{Name: "https-by-address", What: "HTTPS, at each address", Within: lookTime, Needs: []string{"active"}, Do: d.byAddress})
	}
	if d.own() {
		steps = append(steps, shingle.SmokeStep{Name: "record-removed", What: "its CNAME record is removed", Within: removeTime, Always: true, Do: d.removeRecord})
	}
	return append(steps,
		shingle.SmokeStep{Name: "removed", What: "the domain is deleted", Within: removeTime, Always: true, Do: d.remove},
		shingle.SmokeStep{Name: "refused", What: "no edge serves it any more", Within: lookTime, Needs: []string{"active", "removed"}, Do: d.refused})
}

func ownName(below string) string { return prefix + strings.ToLower(rand.Text()[:10]) + "." + below }

// own reports whether the record that leads the domain here is ours to make.
func (d *domain) own() bool { return d.Domain == "" && d.Zone != nil }

// leftOvers deletes domains of earlier runs: what was added long ago, and has our tag.
// That of the same name goes in any case.
func (d *domain) leftOvers(ctx context.Context) (string, error) {
	var old []string
	seen := 0
	for is, err := range d.Client.FindDomains(ctx, api.FilterInput{}, string(shingle.NewestFirst)) {
		if err != nil {
			return "", err
		}
		if seen++; seen > newest {
			break
		}
		if ours(is) && time.Since(is.CreatedAt) > d.Old {
			old = append(old, is.Host)
		}
	}
	if is, err := d.Client.Domain(ctx, d.host); err == nil && ours(is) && !slices.Contains(old, d.host) {
		old = append(old, d.host)
	}
	for _, host := range old {
		if d.Zone != nil && strings.HasSuffix(host, "."+d.Zone.Name()) && strings.HasPrefix(host, prefix) {
			if err := d.Zone.RemoveCNAME(ctx, host); err != nil {
				return "", fmt.Errorf("remove the record of %s: %w", host, err)
			}
		}
		if err := d.Client.DeleteDomain(ctx, host); err != nil && !errors.Is(err, shingle.ErrNotFound) {
			return "", fmt.Errorf("delete %s: %w", host, err)
		}
	}
	if len(old) == 0 {
		return "nothing", nil
	}
	return "deleted " + strings.Join(old, ", "), nil
}

func ours(d api.Domain) bool { return shingle.SettingsText(d.Settings).HasTag(tag) }

func (d *domain) add(ctx context.Context) (string, error) {
	n := api.NewDomain{Host: d.host, Settings: `{"tags":["` + tag + `"]}`}
	if d.own() {
		n.Tenant, n.Paused = tenant, true // nobody looks for its record before it is there
	}
	d.begun = true // also when the answer is lost
	is, err := d.Client.CreateDomain(ctx, n)
	switch {
	case errors.Is(err, shingle.ErrExists):
		d.begun = false
		return "", &shingle.SmokeFault{Reason: err.Error(), Do: "name another one with --domain: this is somebody's"}
	case errors.Is(err, shingle.ErrForbidden):
		d.begun = false
		return "", &shingle.SmokeFault{Reason: err.Error(), Do: "the token may look, and not add: take one of the role operator"}
	case err != nil:
		return "", err
	}
	if d.own() {
		if is.DNS == nil || is.DNS.CNAME == "" {
			return "", errors.New("the API does not say what its CNAME record is to lead to")
		}
		d.target = is.DNS.CNAME
	}
	return "", nil
}

func (d *domain) setRecord(ctx context.Context) (string, error) {
	d.record = true // also when the answer is lost
	if err := d.Zone.SetCNAME(ctx, d.host, d.target); err != nil {
		return "", &shingle.SmokeFault{Reason: err.Error(), Do: "the credentials must be allowed to change records; or name a domain of yours that leads to " + d.Target + " with --domain"}
	}
	open := false
	_, err := d.Client.UpdateDomain(ctx, d.host, api.DomainPatch{Paused: &open})
	return "to " + d.target, err
}

// active waits until the checks have seen the domain through.
func (d *domain) active(ctx context.Context) (string, error) {
	if _, err := d.Client.CheckDomain(ctx, d.host, ""); err != nil && !errors.Is(err, shingle.ErrNotFound) { // it is looked at now, not when its turn comes
		return "", err
	}
	var until string
	err := d.again(ctx, d.Wait, func() (err error) {
		until, err = d.certified(ctx)
		return err
	})
	if err == nil {
		return until, nil
	}
	return "", &shingle.SmokeFault{
		Reason: err.Error(),
		Do:     "shingle domains check " + d.host + ", with the domain added again, says who must act; shingle certs list what waits for the CA; shingle smoke --wait 15m gives it longer",
	}
}

func (d *domain) certified(ctx context.Context) (string, error) {
	is, err := d.Client.Domain(ctx, d.host)
	if err != nil {
		return "", err
	}
	if is.DNS != nil && (is.Status == nil || is.Status.State != "active") {
		if is.Status == nil {
			return "", errors.New("it was not checked yet: see that the control plane has its turns")
		}
		return "", fmt.Errorf("it is %s: %s", is.Status.State, is.Status.Message)
	}
	c, err := d.Client.Certificate(ctx, d.host)
	switch {
	case err != nil:
		return "", err
	case c.State == "valid":
		return "by " + c.Issuer + " until " + c.NotAfter.UTC().Format(time.DateOnly), nil
	case c.Failed != nil:
		return "", fmt.Errorf("its certificate is %s: %s", c.State, c.Failed.Message)
	}
	return "", fmt.Errorf("its certificate is %s", c.State)
}

const frontHint = "a time-out: security groups, network ACLs, UDP and TCP 443; a 5xx: the product, shingle domains traffic and its log; another server: what DNS leads to"

func (d *domain) byName(ctx context.Context) (found string, err error) {
	v := visitor{Installation: d.Installation, host: d.host}
	err = d.again(ctx, d.Settle, func() (err error) { found, err = v.visit(ctx); return err })
	if err != nil {
		return "", &shingle.SmokeFault{Reason: err.Error(), Do: frontHint}
	}
	return found, nil
}

func (d *domain) byAddress(ctx context.Context) (string, error) {
	return d.atEach(ctx, func(v *visitor) (string, error) { return v.visit(ctx) }, frontHint)
}

// atEach does something at each address, until it succeeds there, and returns what was
// found.
func (d *domain) atEach(ctx context.Context, do func(*visitor) (string, error), hint string) (string, error) {
	type said struct {
		text string
		err  error
	}
	all := make(chan said, len(d.Front))
	for _, a := range d.Front {
		go func() {
			v, found := &visitor{d.Installation, d.host, a.HTTPS}, ""
			err := d.again(ctx, d.Settle, func() (err error) { found, err = do(v); return err })
			if err != nil {
				all <- said{err: fmt.Errorf("%s: %w", a.HTTPS, err)}
				return
			}
			all <- said{text: strings.TrimSuffix(fmt.Sprintf("%s: %s", a.HTTPS, found), ": ")}
		}()
	}
	var found, wrong []string
	for range d.Front {
		if s := <-all; s.err != nil {
			wrong = append(wrong, s.err.Error())
		} else {
			found = append(found, s.text)
		}
	}
	slices.Sort(found)
	slices.Sort(wrong)
	if len(wrong) > 0 {
		return "", &shingle.SmokeFault{Reason: strings.Join(wrong, "; "), Do: hint}
	}
	return strings.Join(found, "; "), nil
}

// pace is how often something is tried again.
const pace = time.Second

// again does something again and again until it succeeds, it is no use, patience is at its
// end, or ctx is: then it returns why the last time failed, and not that it was cut short.
func (x *Installation) again(ctx context.Context, patience time.Duration, do func() error) error {
	tick := time.NewTicker(cmp.Or(x.pace, pace))
	defer tick.Stop()
	begun := time.Now()
	var last error
	for {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if _, useless := errors.AsType[productError](err); useless || time.Since(begun) >= patience {
			return last
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last
		}
	}
}

func (d *domain) removeRecord(ctx context.Context) (string, error) {
	if !d.record {
		return "there is none", nil
	}
	if err := d.Zone.RemoveCNAME(ctx, d.host); err != nil {
		return "", &shingle.SmokeFault{Reason: err.Error(), Do: "remove the CNAME record " + d.host + " in the zone " + d.Zone.Name() + " yourself"}
	}
	return "", nil
}

// remove deletes the domain, if it is there and ours.
func (d *domain) remove(ctx context.Context) (string, error) {
	if !d.begun {
		return "there is none", nil
	}
	is, err := d.Client.Domain(ctx, d.host)
	if err == nil && ours(is) {
		err = d.Client.DeleteDomain(ctx, d.host)
	}
	switch {
	case errors.Is(err, shingle.ErrNotFound): // its addition was refused, or another run has taken it away
		return "it is not there", nil
	case err != nil:
		return "", &shingle.SmokeFault{Reason: err.Error(), Do: "delete it yourself: shingle domains rm " + d.host + "; the next run deletes it too"}
	}
	return "", nil
}

// refused waits until every address refuses the host.
func (d *domain) refused(ctx context.Context) (string, error) {
	const hint = "shingle edges: an edge that is behind cannot reach the store, or is about to be replaced"
	if len(d.Front) == 0 {
		v := visitor{Installation: d.Installation, host: d.host}
		if err := d.again(ctx, d.Settle, func() error { return v.refused(ctx) }); err != nil {
			return "", &shingle.SmokeFault{Reason: err.Error(), Do: hint}
		}
		return "", nil
	}
	return d.atEach(ctx, func(v *visitor) (string, error) { return "", v.refused(ctx) }, hint)
}
