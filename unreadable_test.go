package shingle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestUnreadable_TellsKeysOnly has a record with a secret in it be met again and again.
func TestUnreadable_TellsKeysOnly(t *testing.T) {
	var log bytes.Buffer
	now := time.Now()
	u := NewUnreadable(slog.New(slog.NewTextHandler(&log, nil)))
	u.now = func() time.Time { return now }
	var into struct {
		Hash string
		At   time.Time
		N    int
	}
	for n, record := range []string{`{"hash":"s3cret`, `{"hash":s3cret}`, `{"at":"s3cret"}`, `{"n":"s3cret"}`, `{"n":1e300}`} {
		err := json.Unmarshal([]byte(record), &into)
		if err == nil {
			t.Fatal(record)
		}
		for range 100 {
			u.Note("tokens/ids/"+fmt.Sprint(n), err)
		}
		if text := UnreadableError("tokens/ids/a", err); strings.Contains(text.Error(), "s3cret") || strings.Contains(MessageOf(text), "tokens/") {
			t.Errorf("%s: %v", record, text)
		}
	}
	if keys, lines := len(u.Keys()), strings.Count(log.String(), "\n"); keys != lines || keys != 5 || strings.Contains(log.String(), "s3cret") {
		t.Errorf("%d keys: %s", keys, &log)
	}
	u.Mended("tokens/ids/1")
	now = now.Add(26 * time.Hour)
	if u.Keys() != nil || u.Summary() != "" {
		t.Errorf("after a day: %q", u.Keys())
	}
}

// TestUnreadable_IsBounded has every record of a store be damaged.
func TestUnreadable_IsBounded(t *testing.T) {
	var log bytes.Buffer
	u := NewUnreadable(slog.New(slog.NewTextHandler(&log, nil)))
	for n := range 3 * maxUnreadable {
		u.Note(fmt.Sprintf("statuses/%05d", n), ErrUnreadable)
	}
	if keys, lines := len(u.Keys()), strings.Count(log.String(), "\n"); keys != maxUnreadable || lines != unreadableRate {
		t.Errorf("%d keys, %d lines", keys, lines)
	}
	if u.Summary() == "" || len(u.Summary()) > 300 || u.Metrics()[1].Values[0].Value != 3*maxUnreadable {
		t.Error(u.Summary(), u.Metrics())
	}
	for _, key := range u.Keys() {
		u.Mended(key)
	}
	if u.Keys() != nil || u.some.Load() {
		t.Error(u.Keys())
	}
	(*Unreadable)(nil).Note("a", ErrUnreadable)
}

func TestReadable(t *testing.T) {
	good := Domain{Host: "*.xn--bcher-kva.example.com", Tenant: "Acme:eu@1_2.x-", Version: 1, Settings: `{"tags":["a"]}`}
	if err := good.Readable(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Domain){
		"no host": func(d *Domain) { d.Host = "" }, "slash": func(d *Domain) { d.Host = "a/b.com" }, "upper case": func(d *Domain) { d.Host = "A.com" },
		"long": func(d *Domain) { d.Host = strings.Repeat("a", 254) }, "tenant": func(d *Domain) { d.Tenant = "a b" }, "version": func(d *Domain) { d.Version = 0 },
		"settings": func(d *Domain) { d.Settings = `{"tags"` },
	} {
		bad := good
		spoil(&bad)
		if bad.Readable() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
