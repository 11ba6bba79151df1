package api_test

import (
	"context"
	"sync"

	"github.com/shingle-proxy/shingle"
)

// diary is an [api.EventLog] in which nothing ever happened, without webhooks.
type diary struct {
	mu     sync.Mutex
	asked  shingle.EventFilter
	after  string
	happen chan shingle.Event
	idle   chan struct{}
	fail   error
}

func (d *diary) Log(_ context.Context, about shingle.EventFilter, _ string, _ int) ([]shingle.Event, string, error) {
	d.asked = about
	return nil, "", nil
}

// Stream sends what is in happen, and calls idle once.
func (d *diary) Stream(ctx context.Context, about shingle.EventFilter, after string, send func(string, shingle.Event) error, idle func() error) error {
	d.mu.Lock()
	d.asked, d.after = about, after
	d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	if err := idle(); err != nil {
		return err
	}
	for {
		select {
		case e := <-d.happen:
			if err := send("at-"+e.ID, e); err != nil {
				return err
			}
		case <-d.idle:
			if err := idle(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (*diary) CreateWebhook(_ context.Context, w shingle.Webhook) (shingle.Webhook, string, error) {
	return w, "whsec_", nil
}

func (*diary) Webhooks(context.Context) ([]shingle.Webhook, error) { return nil, nil }

func (*diary) Webhook(context.Context, string) (w shingle.Webhook, err error) {
	return w, errNoWebhook
}

func (*diary) UpdateWebhook(context.Context, string, func(*shingle.Webhook)) (w shingle.Webhook, err error) {
	return w, errNoWebhook
}

func (*diary) DeleteWebhook(context.Context, string) error { return errNoWebhook }

func (*diary) RotateSecret(context.Context, string) (string, error) { return "", errNoWebhook }

func (*diary) Test(context.Context, string) error { return errNoWebhook }

func (*diary) DeadLetters(context.Context, string, string, int) ([]shingle.DeadLetter, string, error) {
	return nil, "", errNoWebhook
}

func (*diary) Replay(context.Context, string, string) (int, error) { return 0, errNoWebhook }

var errNoWebhook = shingle.Errorf(shingle.CodeNotFound, "there is no webhook")
