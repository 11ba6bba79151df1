package memory_test

import (
	"errors"
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func TestStore(t *testing.T) {
	storetest.TestDomainStore(t, func(*testing.T) shingle.DomainStore { return &memory.Store{} })
	storetest.TestMovableStore(t, func(*testing.T) shingle.MovableStore { return &memory.Store{} })
	storetest.TestBlobs(t, func(*testing.T) shingle.Blobs { return &memory.Store{} })
	storetest.TestBlobsLinearizable(t, func(*testing.T) shingle.Blobs { return &memory.Store{} })
}

func TestStore_RefusesLimitsOutOfBounds(t *testing.T) {
	s := &memory.Store{}
	for _, limit := range []int{-1, 0, 1001} {
		_, errDomains := s.Domains(t.Context(), "", limit)
		_, _, errChanges := s.Changes(t.Context(), "", limit)
		_, errList := s.List(t.Context(), "", "", limit)
		for _, err := range []error{errDomains, errChanges, errList} {
			if !errors.Is(err, shingle.ErrInvalid) {
				t.Errorf("limit %d: %v", limit, err)
			}
		}
	}
}
