package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cloudflare "github.com/cloudflare/cloudflare-go/v7/custom_hostnames"
	"github.com/cloudflare/cloudflare-go/v7/option"
)

// TestDev_CloudflareClient has Cloudflare's own SDK create a hostname in a whole shingle
// dev, follow it until visitors are served, change it, and delete it.
func TestDev_CloudflareClient(t *testing.T) {
	t.Parallel()
	d := startDev(t, t.TempDir(), "--cloudflare-zone", "my-zone")
	token, err := os.ReadFile(filepath.Join(d.data, "token"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	hosts := cloudflare.NewCustomHostnameService(option.WithBaseURL("http://"+d.ends.Control+"/client/v4/"), option.WithAPIToken(strings.TrimSpace(string(token))))
	const host = "shop.customer.localhost"

	var fresh cloudflare.CustomHostnameNewParams
	fresh.ZoneID.Value, fresh.ZoneID.Present = "my-zone", true
	fresh.Hostname.Value, fresh.Hostname.Present = host, true
	made, err := hosts.New(ctx, fresh)
	if err != nil {
		t.Fatal(err)
	}
	var get cloudflare.CustomHostnameGetParams
	get.ZoneID = fresh.ZoneID
	for {
		is, err := hosts.Get(ctx, made.ID, get)
		if err != nil {
			t.Fatal(err)
		}
		if is.Status == "active" && is.SSL.Status == "active" {
			break
		}
		time.Sleep(100 * time.Millisecond) // as a client does
	}
	if err := d.visit(d.client(true), host); err != nil {
		t.Fatal(err)
	}

	var edit cloudflare.CustomHostnameEditParams
	edit.ZoneID = fresh.ZoneID
	edit.CustomMetadata.Value, edit.CustomMetadata.Present = map[string]string{"plan": "pro"}, true
	if is, err := hosts.Edit(ctx, made.ID, edit); err != nil || is.CustomMetadata["plan"] != "pro" || is.Status != "active" {
		t.Errorf("edited %+v, %v", is, err)
	}
	if out, err := exec.Command("shingle", "domains", "show", host, "--data", d.data).CombinedOutput(); err != nil || !strings.Contains(string(out), `"pro"`) || !strings.Contains(string(out), made.ID) {
		t.Errorf("shingle domains show: %v\n%s", err, out)
	}

	// A hostname that was Cloudflare's is found by the ID that it had there.
	const old = "0d89c70d-ad9f-4843-b99f-6cc0252067e9"
	file := filepath.Join(t.TempDir(), "export.json")
	if err := os.WriteFile(file, []byte(`{"result":[{"id":"`+old+`","hostname":"moved.customer.localhost"}],"success":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("shingle", "domains", "import", file, "--data", d.data).CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	if is, err := hosts.Get(ctx, old, get); err != nil || is.ID != old || is.Hostname != "moved.customer.localhost" {
		t.Errorf("by its old ID: %+v, %v", is, err)
	}

	var gone cloudflare.CustomHostnameDeleteParams
	gone.ZoneID = fresh.ZoneID
	if _, err := hosts.Delete(ctx, made.ID, gone); err != nil {
		t.Fatal(err)
	}
	_, err = hosts.Get(ctx, made.ID, get)
	if refused := (*cloudflare.Error)(nil); !errors.As(err, &refused) || refused.StatusCode != http.StatusNotFound || refused.Errors[0].Code != 1436 {
		t.Errorf("deleted: %v", err)
	}
	c := d.client(true)
	for d.visit(c, host) == nil {
		c.CloseIdleConnections()
		if ctx.Err() != nil {
			t.Fatal("it is served still")
		}
		time.Sleep(100 * time.Millisecond) // for the edge's table
	}
}
