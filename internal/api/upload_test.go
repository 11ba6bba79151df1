package api_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

const secretKey = "-----BEGIN PRIVATE KEY-----\nTUlHSEFnRUFNQk1HQnlxR1NNNDlBZ0VHQ0Nx\n-----END PRIVATE KEY-----\n"

func TestUpload_CarriesAllOfIt(t *testing.T) {
	s, shelf := startWithShelf(t)
	n := api.NewCertificate{Chain: "-----BEGIN", Key: secretKey, Keep: true, Issuer: "https://ca.example/dir"}
	c, err := s.client.UploadCertificate(t.Context(), "A.Example.com", n, false, true)
	if err != nil || c.Host != "a.example.com" || !c.Uploaded || !c.Keep || len(c.Warnings) != 1 {
		t.Errorf("got %+v, %v", c, err)
	}
	want := shingle.Upload{Chain: n.Chain, Key: n.Key, Keep: true, Issuer: n.Issuer, By: "test", DryRun: true}
	if got := shelf.uploads[0]; got != want {
		t.Error("something was lost on the way")
	}
	if _, err := s.client.UploadCertificate(t.Context(), "a.example.com", n, true, false); shingle.CodeOf(err) != shingle.CodeExists || !shelf.uploads[1].IfNewer {
		t.Errorf("one that is newer: %v", err)
	}
	if _, err := s.client.UploadCertificate(t.Context(), "nobody.example.com", n, false, false); shingle.CodeOf(err) != shingle.CodeNotFound {
		t.Errorf("no such domain: %v", err)
	}
	n.Key = "hello"
	_, err = s.client.UploadCertificate(t.Context(), "a.example.com", n, false, false)
	if e, ok := errors.AsType[*shingle.Error](err); !ok || e.Code != shingle.CodeInvalid || e.Field != "key" {
		t.Errorf("no key: %v", err)
	}
}

// TestUpload_NoAnswerQuotesTheKey sends it in every way that is refused.
func TestUpload_NoAnswerQuotesTheKey(t *testing.T) {
	var log bytes.Buffer
	s := start(t, func(cfg *api.Config) {
		cfg.Certificates, cfg.Logger = &shelf{}, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	const secret = "TUlHSEFnRUFNQk1HQnlxR1NNNDlBZ0VHQ0Nx"
	key := strings.ReplaceAll(secretKey, "\n", `\n`)
	for name, body := range map[string]string{
		"fine":         fmt.Sprintf(`{"chain":"x","key":"%s"}`, key),
		"cut short":    fmt.Sprintf(`{"chain":"x","key":"%s`, key),
		"not JSON":     key,
		"other type":   fmt.Sprintf(`{"chain":"x","key":["%s"]}`, key),
		"other member": fmt.Sprintf(`{"chain":"x","private_key":"%s"}`, key),
		"as a name":    fmt.Sprintf(`{"chain":"x","%s":"key"}`, key),
		"too long":     fmt.Sprintf(`{"chain":"x","key":"%s%s"}`, key, strings.Repeat("x", 16<<10)),
		"swapped":      fmt.Sprintf(`{"chain":"%s","key":"x"}`, key),
	} {
		t.Run(name, func(t *testing.T) {
			resp, text := s.do(t, http.MethodPut, "/v1/certificates/a.example.com", body)
			if strings.Contains(text, secret) || strings.Contains(log.String(), secret) {
				t.Errorf("%s: the key is told: %s\n%s", resp.Status, text, log.String())
			}
		})
	}
}
