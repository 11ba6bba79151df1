package panel

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

const lettersShown = 50 // dead letters on a webhook's page

// webhookForm is what was entered for a new webhook.
type webhookForm struct {
	URL, Description, Tenant, Types string
	Fault                           fault
}

type webhookList struct {
	Webhooks []api.Webhook
	Form     webhookForm
}

func listWebhooks(v *visit) error {
	list, err := v.api.Webhooks(v.ctx())
	if err != nil {
		return err
	}
	return v.show("webhooks", webhookList{Webhooks: list})
}

// addWebhook shows the secret of what it made, this once.
func addWebhook(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return badForm
	}
	in := v.r.PostForm
	form := webhookForm{URL: strings.TrimSpace(in.Get("url")), Description: strings.TrimSpace(in.Get("description")), Tenant: strings.TrimSpace(in.Get("tenant")), Types: in.Get("types")}
	made, err := v.api.CreateWebhook(v.ctx(), api.NewWebhook{URL: form.URL, Description: form.Description, Tenant: form.Tenant, Types: split(form.Types)})
	if err == nil {
		return v.show("webhook", webhookPage{Webhook: made})
	}
	if form.Fault, err = faultOf(err); err != nil {
		return err
	}
	form.Fault = form.Fault.at("url", "description", "types", "tenant")
	list, err := v.api.Webhooks(v.ctx())
	if err != nil {
		return err
	}
	v.panel.render(v.w, v, http.StatusUnprocessableEntity, "webhooks", webhookList{Webhooks: list, Form: form})
	return nil
}

type webhookPage struct {
	Webhook api.Webhook // with a secret when it was just made
	Letters []api.DeadLetter
	More    bool // there are more of them
	Fault   string
}

func showWebhook(v *visit) error { return v.webhook("") }

// webhook shows a webhook, with what did not work.
func (v *visit) webhook(fault string) error {
	id := v.r.PathValue("id")
	w, err := v.api.Webhook(v.ctx(), id)
	if err != nil {
		return err
	}
	letters, err := v.api.DeadLetterPage(v.ctx(), id, "", lettersShown)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if fault != "" {
		status = http.StatusUnprocessableEntity
	}
	v.panel.render(v.w, v, status, "webhook", webhookPage{Webhook: w, Letters: letters.DeadLetters, More: letters.Next != "", Fault: fault})
	return nil
}

// actOnWebhook does what one of the buttons of a webhook's page says.
func actOnWebhook(v *visit) error {
	id, done := v.r.PathValue("id"), "hook-saved"
	var err error
	switch v.r.PostFormValue("do") {
	case "test":
		done, err = "hook-tested", v.api.TestWebhook(v.ctx(), id)
	case "replay":
		done = "replayed"
		_, err = v.api.Replay(v.ctx(), id, v.r.PostFormValue("event"))
	case "enable", "disable":
		disabled := v.r.PostFormValue("do") == "disable"
		_, err = v.api.UpdateWebhook(v.ctx(), id, api.WebhookPatch{Disabled: &disabled})
	default:
		return badForm
	}
	if err == nil {
		return v.tell(Root+"webhooks/"+url.PathEscape(id), done)
	}
	if done == "hook-tested" && shingle.CodeOf(err) == shingle.CodeUnavailable { // it is the other side that is not there
		return v.webhook(sentence(shingle.MessageOf(err)))
	}
	f, err := faultOf(err)
	if err != nil {
		return err
	}
	return v.webhook(f.Message)
}

func askDeleteWebhook(v *visit) error {
	w, err := v.api.Webhook(v.ctx(), v.r.PathValue("id"))
	if err != nil {
		return err
	}
	letters, err := v.api.DeadLetterPage(v.ctx(), w.ID, "", lettersShown)
	if err != nil {
		return err
	}
	return v.show("deletehook", webhookPage{Webhook: w, Letters: letters.DeadLetters, More: letters.Next != ""})
}

func deleteWebhook(v *visit) error {
	if err := v.api.DeleteWebhook(v.ctx(), v.r.PathValue("id")); err != nil {
		return err
	}
	return v.tell(Root+"webhooks", "hook-gone")
}
