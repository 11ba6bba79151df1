package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/records"
)

// cfIDPrefix is of the records that say whose an ID is:
//
//	cloudflare/ID   the host
//
// The row says so too, in its settings. A record whose row does not means nothing: it
// stays when a domain is deleted, for whoever adds the name again at the same moment.
const cfIDPrefix = "cloudflare/"

type cfIDRecord struct {
	Host string `json:"host"`
}

// cfID returns the ID of a domain: the one in its settings, or else its host.
func cfID(d *Domain) string {
	set, _ := shingle.SettingsText(d.Settings).Parse()
	if set.CloudflareID != "" {
		return set.CloudflareID
	}
	return d.Host
}

// newCFID returns the ID of a host that is created by the routes of Cloudflare's: a
// UUID (RFC 9562 section 5.8), always the same one.
func newCFID(host string) string {
	b := sha256.Sum256([]byte("shingle custom hostname\x00" + host))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// cfHost returns the host with an ID, if it is one that the caller may know. It may have
// been deleted since.
func (s *server) cfHost(ctx context.Context, id string) (string, error) {
	unknown := shingle.Errorf(shingle.CodeNotFound, "No custom hostname has the ID %.80q", id)
	if strings.Contains(id, ".") { // every host has one, and no other ID
		host, err := shingle.NormalizeDomain(id)
		if err != nil {
			return "", unknown
		}
		return host, nil
	}
	if s.ids == nil || !shingle.IsCloudflareID(id) {
		return "", unknown
	}
	var is cfIDRecord
	_, err := s.ids.Get(ctx, cfIDPrefix+id, &is)
	if errors.Is(err, shingle.ErrNotFound) {
		return "", unknown
	}
	if err != nil {
		return "", fmt.Errorf("read ID: %w", err)
	}
	d, err := s.Store.Domain(ctx, is.Host)
	if errors.Is(err, shingle.ErrNotFound) || err == nil && (d.Settings.CloudflareID() != id || owns(ctx, &d) != nil) {
		return "", unknown
	}
	return is.Host, err
}

// claimID records the ID in a domain's settings, before they are written, so that the
// domain is found by it. It returns [shingle.ErrInvalid] when another domain has it.
func (s *server) claimID(ctx context.Context, d *shingle.Domain) error {
	id := d.Settings.CloudflareID()
	if id == "" || s.ids == nil {
		return nil
	}
	var is cfIDRecord
	version, err := s.ids.Get(ctx, cfIDPrefix+id, &is)
	switch {
	case errors.Is(err, shingle.ErrNotFound):
		version = shingle.NoVersion
	case err != nil:
		return fmt.Errorf("read ID: %w", err)
	case is.Host == d.Host:
		return nil
	}
	if is.Host != "" {
		other, err := s.Store.Domain(ctx, is.Host)
		if err == nil && other.Settings.CloudflareID() == id {
			return &shingle.Error{Code: shingle.CodeInvalid, Field: "settings.cloudflare_id", Message: "another domain has this ID"}
		}
		if err != nil && !errors.Is(err, shingle.ErrNotFound) {
			return err
		}
	}
	if _, err := s.ids.Put(ctx, cfIDPrefix+id, cfIDRecord{d.Host}, version); err != nil {
		return fmt.Errorf("write ID: %w", err)
	}
	return nil
}

func newIDs(blobs shingle.Blobs, unreadable *shingle.Unreadable) *records.Store {
	if blobs == nil {
		return nil
	}
	return records.New(blobs, unreadable)
}
