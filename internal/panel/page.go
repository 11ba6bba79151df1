package panel

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/shingle-proxy/shingle/internal/api"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed assets/*
var assetFiles embed.FS

// pages are the templates: those whose names begin with "_" are parts of others.
type pages struct {
	sets   map[string]*template.Template
	assets map[string]asset
}

type asset struct {
	data []byte
	hash string // in its address, so that a new version is another one
}

// notices are what a page may say about what was just done. The address has the name
// alone, so that a link cannot put words into our mouth.
var notices = map[string]string{
	"added":       "The domain was added.",
	"saved":       "The changes were saved. Every edge has them within a second or two.",
	"unchanged":   "There was nothing to change.",
	"deleted":     "The domain was deleted. It is no longer served, and its key is destroyed.",
	"renewing":    "The certificate is being renewed. This takes some seconds.",
	"hook-saved":  "The webhook was changed.",
	"hook-gone":   "The webhook was removed.",
	"hook-tested": "The test event has arrived.",
	"replayed":    "The dead letters are being sent again.",
	"revoked":     "The token was revoked.",

	"job-made":     "The job was made. It goes on by itself, also when you leave this page.",
	"job-canceled": "The job ends after the lines that are being done.",
	"links-ended":  "The links to its set-up page have ended.",
}

func readPages(cfg *Config) (pages, error) {
	p := pages{sets: map[string]*template.Template{}, assets: map[string]asset{}}
	files, err := fs.Glob(assetFiles, "assets/*")
	if err != nil {
		return p, err
	}
	for _, name := range files {
		data, err := assetFiles.ReadFile(name)
		if err != nil {
			return p, err
		}
		sum := sha256.Sum256(data)
		p.assets[path.Base(name)] = asset{data, hex.EncodeToString(sum[:8])}
	}
	funcs := maps.Clone(functions)
	funcs["asset"] = func(name string) string { return Root + "assets/" + name + "?v=" + p.assets[name].hash }
	funcs["ago"] = func(t time.Time) template.HTML { return ago(t, cfg.Now()) }
	funcs["port"] = func() string {
		if cfg.VisitPort == 0 || cfg.VisitPort == 443 {
			return ""
		}
		return fmt.Sprintf(":%d", cfg.VisitPort)
	}
	shared, err := template.New("").Funcs(funcs).ParseFS(pageFiles, "pages/_*.html")
	if err != nil {
		return p, err
	}
	if files, err = fs.Glob(pageFiles, "pages/[a-z]*.html"); err != nil {
		return p, err
	}
	for _, name := range files {
		set, err := shared.Clone()
		if err == nil {
			_, err = set.ParseFS(pageFiles, name)
		}
		if err != nil {
			return p, fmt.Errorf("page %s: %w", name, err)
		}
		p.sets[strings.TrimSuffix(path.Base(name), ".html")] = set
	}
	return p, nil
}

// page is what every template gets.
type page struct {
	Me      *api.Token // nil: not signed in
	Section string     // of the panel, such as "domains"
	Version string
	Notice  string
	Data    any
}

// Can reports whether the visitor's role may do what operators do, for templates.
func (p page) Can() bool { return p.Me != nil && (p.Me.Role == "admin" || p.Me.Role == "operator") }

// CanOwn is Can, for what tenants may do with their own domains too.
func (p page) CanOwn() bool { return p.Can() || p.IsTenant() }

// IsTenant reports whether the visitor sees one tenant alone.
func (p page) IsTenant() bool { return p.Me != nil && p.Me.Role == "tenant" }

// IsAdmin reports whether the visitor may see to tokens.
func (p page) IsAdmin() bool { return p.Me != nil && p.Me.Role == "admin" }

// render writes a page. v is nil for whoever is not signed in.
func (p *panel) render(w http.ResponseWriter, v *visit, status int, name string, data any) {
	is := page{Version: p.Version, Data: data}
	if v != nil {
		is.Me = &v.me
		is.Section, _, _ = strings.Cut(strings.TrimPrefix(v.r.URL.Path, Root), "/")
		is.Notice = notices[v.r.URL.Query().Get("note")]
	}
	p.write(w, status, name, "layout", is)
}

// show answers with a page.
func (v *visit) show(name string, data any) error {
	v.panel.render(v.w, v, http.StatusOK, name, data)
	return nil
}

// showPart answers with a part of a page, for a script of ours.
func (v *visit) showPart(name, part string, data any) error {
	v.panel.write(v.w, http.StatusOK, name, part, page{Me: &v.me, Data: data})
	return nil
}

func (p *panel) write(w http.ResponseWriter, status int, name, part string, is page) {
	var out bytes.Buffer
	if err := p.pages.sets[name].ExecuteTemplate(&out, part, is); err != nil {
		p.Logger.Error("panel page failed", "page", name, "error", err)
		http.Error(w, "internal error; the log has the details", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // a visitor who has gone will not miss it
}

func (p *panel) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := p.pages.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("v") == a.hash {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(r.PathValue("name"))))
	_, _ = w.Write(a.data) // a visitor who has gone will not miss it
}
