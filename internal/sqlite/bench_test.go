package sqlite_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/sqlite"
)

func BenchmarkDB_CreateDomain(b *testing.B) {
	db := open(b, sqlite.Config{Path: path(b)})
	for i := 0; b.Loop(); i++ {
		if _, err := db.CreateDomain(b.Context(), shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i)}, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDB_CreateDomainTrimming(b *testing.B) {
	db := open(b, sqlite.Config{Path: path(b), KeepChanges: 100})
	for i := 0; b.Loop(); i++ {
		if _, err := db.CreateDomain(b.Context(), shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i)}, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDB_Domain(b *testing.B) {
	db := open(b, sqlite.Config{Path: path(b)})
	const rows = 1000
	for i := range rows {
		if _, err := db.CreateDomain(b.Context(), shingle.Domain{Host: fmt.Sprintf("h%d.example.com", i)}, now); err != nil {
			b.Fatal(err)
		}
	}
	for i := 0; b.Loop(); i++ {
		if _, err := db.Domain(b.Context(), fmt.Sprintf("h%d.example.com", i%rows)); err != nil {
			b.Fatal(err)
		}
	}
}

// A certificate with its chain and key is some 6 KB.
var certificate = bytes.Repeat([]byte{0xab}, 6<<10)

func BenchmarkDB_Put(b *testing.B) {
	db := open(b, sqlite.Config{Path: path(b)})
	version := shingle.NoVersion
	for b.Loop() {
		var err error
		if version, err = db.Put(b.Context(), "k", certificate, version); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDB_Get(b *testing.B) {
	db := open(b, sqlite.Config{Path: path(b)})
	if _, err := db.Put(b.Context(), "k", certificate, shingle.NoVersion); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := db.Get(b.Context(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDB_ChangesAtTheEnd(b *testing.B) {
	db := open(b, sqlite.Config{Path: path(b)})
	if _, err := db.CreateDomain(b.Context(), shingle.Domain{Host: "a.example.com"}, now); err != nil {
		b.Fatal(err)
	}
	head, err := db.Head(b.Context())
	check(b, err)
	for b.Loop() {
		if _, _, err := db.Changes(b.Context(), head, 1000); err != nil {
			b.Fatal(err)
		}
	}
}
