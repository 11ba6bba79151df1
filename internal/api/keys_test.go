package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
)

// safe is an [api.Keys] with a fixed content.
type safe struct{ asked []shingle.Rewrap }

func (s *safe) MasterKeys(context.Context) ([]shingle.MasterKeyUse, error) {
	return []shingle.MasterKeyUse{{ID: "file-1", DataKeys: 3, Problem: "its file is missing"}, {ID: "file-2", Current: true}}, nil
}

func (s *safe) CurrentMasterKey(context.Context) (string, error) { return "file-2", nil }

func (s *safe) Rewrap(_ context.Context, r shingle.Rewrap) (shingle.RewrapPage, error) {
	s.asked = append(s.asked, r)
	switch {
	case r.Lost == "file-2":
		return shingle.RewrapPage{}, shingle.Errorf(shingle.CodeInvalid, "nothing is lost")
	case r.After == "":
		return shingle.RewrapPage{Next: "more", Wait: 1500 * time.Millisecond, Looked: 2, Changed: map[string]int{"certificates": 2}}, nil
	}
	return shingle.RewrapPage{Changed: map[string]int{}, Failed: 1, Failures: []shingle.RewrapFailure{{Record: "certs/a.example.com", Message: "no"}}}, nil
}

func TestKeys_ListedAndRewrapped(t *testing.T) {
	s := &safe{}
	f := start(t, func(cfg *api.Config) { cfg.Keys = s })
	list, err := f.client.MasterKeys(t.Context())
	if err != nil || len(list) != 2 || list[0].DataKeys != 3 || list[0].Problem == "" || list[0].Current || !list[1].Current {
		t.Errorf("%+v, %v", list, err)
	}
	step, err := f.client.Rewrap(t.Context(), api.Rewrap{Deep: true, DryRun: true})
	if err != nil || step.Next != "more" || step.WaitSeconds != 1.5 || step.Looked != 2 || step.Changed["certificates"] != 2 || step.Failures != nil {
		t.Errorf("%+v, %v", step, err)
	}
	step, err = f.client.Rewrap(t.Context(), api.Rewrap{Lost: "file-1", After: "more"})
	if err != nil || step.Next != "" || step.Failed != 1 || len(step.Failures) != 1 || step.Failures[0].Record != "certs/a.example.com" {
		t.Errorf("%+v, %v", step, err)
	}
	if want := fmt.Sprint([]shingle.Rewrap{{Deep: true, DryRun: true}, {Lost: "file-1", After: "more"}}); fmt.Sprint(s.asked) != want {
		t.Errorf("asked %v", s.asked)
	}
	if _, err := f.client.Rewrap(t.Context(), api.Rewrap{Lost: "file-2"}); !errors.Is(err, shingle.ErrInvalid) || !strings.Contains(err.Error(), "nothing is lost") {
		t.Errorf("got %v", err)
	}
	if resp, body := f.do(t, "POST", "/v1/keys/rewrap", `{"depth":1}`); resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestCertificates_Deleted(t *testing.T) {
	f, shelf := startWithShelf(t)
	if err := f.client.DeleteCertificate(t.Context(), "A.example.com"); err != nil || fmt.Sprint(shelf.discarded) != "[a.example.com]" {
		t.Errorf("%v, %v", shelf.discarded, err)
	}
	if err := f.client.DeleteCertificate(t.Context(), "c.example.com"); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	if resp, _ := f.do(t, "DELETE", "/v1/certificates/b.example.com", ""); resp.StatusCode != http.StatusNoContent {
		t.Errorf("status %d", resp.StatusCode)
	}
}
