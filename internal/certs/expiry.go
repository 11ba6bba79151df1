package certs

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/shingle-proxy/shingle"
)

// warnings are the days before the end of a certificate that is to be kept when
// the operator is told, the first one first.
var warnings = [...]int{30, 14, 7, 1}

// nextWarning is when the operator of a certificate that is kept is told next of
// its end; after the last time it is the end.
func (p *plan) nextWarning() time.Time {
	for _, days := range warnings {
		if p.Warned == 0 || days < p.Warned {
			return p.NotAfter.AddDate(0, 0, -days)
		}
	}
	return p.NotAfter
}

// dueWarning is the last warning whose time has come at now; 0: none.
func (p *plan) dueWarning(now time.Time) (last int) {
	for _, days := range warnings {
		if p.Keep && !now.Before(p.NotAfter.AddDate(0, 0, -days)) {
			last = days
		}
	}
	return last
}

// warning says what the operator must do about a certificate that is kept and
// ends soon, or is empty.
func (p *plan) warning(now time.Time) string {
	if p.dueWarning(now) == 0 || !now.Before(p.NotAfter) {
		return ""
	}
	return fmt.Sprintf("your certificate ends on %s and is kept until then: upload the next one, or have one obtained now (shingle certs renew)",
		p.NotAfter.UTC().Format("2 January 2006 15:04 UTC"))
}

// expiringData is the data of a kept certificate that ends soon.
type expiringData struct {
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"not_after"`
	Days     int       `json:"days"` // that are left, at most
	Who      string    `json:"who"`
	Message  string    `json:"message"`
}

// warn tells the operator that host's certificate, which is kept, ends soon.
func (m *Manager) warn(ctx context.Context, host string) error {
	now := m.cfg.Now()
	_, err := m.store.changePlan(ctx, host, now, func(p *plan, exists bool) bool {
		days := p.dueWarning(now)
		if days != 0 && days != p.Warned && now.Before(p.NotAfter) {
			m.tellExpiring(ctx, host, p, days, now)
			p.Warned = days
		}
		p.reschedule()
		return exists
	})
	return err
}

// tellExpiring records the warning before it counts as given.
func (m *Manager) tellExpiring(ctx context.Context, host string, p *plan, days int, now time.Time) {
	m.log.Warn("certificate that is kept ends soon", "host", host, "ends", p.NotAfter)
	m.tell(ctx, shingle.Event{
		ID:   shingle.EventID(string(shingle.EventCertificateExpiring), host, p.Serial, strconv.Itoa(days)),
		Type: shingle.EventCertificateExpiring, Host: host, Tenant: p.Tenant,
	}, expiringData{p.Serial, p.NotAfter, days, shingle.WhoOperator, p.warning(now)})
}
