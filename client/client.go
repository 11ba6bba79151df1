// Package client calls the API of Shingle from Go. It is the client of Shingle's own
// command line, under names that other modules may import.
//
// Errors are [shingle.Error]s: compare them with shingle.ErrExists and the others by
// errors.Is. docs/integration.md is the way through.
package client

import "github.com/shingle-proxy/shingle/internal/api"

// Client calls the API. It is safe for concurrent use.
type Client = api.Client

// What is sent and received. /openapi.json describes every field.
type (
	NewDomain      = api.NewDomain      // to create a domain
	DomainPatch    = api.DomainPatch    // to change one: what is nil stays
	Domain         = api.Domain         // as the API shows it
	Settings       = api.Settings       // as JSON, of the form of shingle.Settings
	SettingsPatch  = api.SettingsPatch  // a merge patch of those (RFC 7396)
	Status         = api.Status         // where a domain is in its life
	Instructions   = api.Instructions   // what its customer may set
	Check          = api.Check          // what a look at a domain found
	Finding        = api.Finding        // one verdict
	Record         = api.Record         // a DNS record as it is typed in
	NewSetupLink   = api.NewSetupLink   // to make a link to the page by which its customer sets it up
	SetupLink      = api.SetupLink      // such a link
	NewSetupEmail  = api.NewSetupEmail  // to write an e-mail with one
	SetupEmail     = api.SetupEmail     // such an e-mail
	Certificate    = api.Certificate    // what is known of one
	NewCertificate = api.NewCertificate // to upload
	Calendar       = api.Calendar       // of renewals, by day
	Planned        = api.Planned        // one of them
	Event          = api.Event          // something that happened
	Traffic        = api.Traffic        // what visitors asked of a domain
	TrafficHour    = api.TrafficHour    // in an hour
	TrafficCounts  = api.TrafficCounts  // in some time
	NewWebhook     = api.NewWebhook     // to create a webhook
	Webhook        = api.Webhook        // as the API shows it
)

// New returns a client for the API at baseURL, such as "http://127.0.0.1:8090".
func New(baseURL, token string) (*Client, error) { return api.NewClient(baseURL, token) }
