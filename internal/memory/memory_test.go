package memory_test

import (
	"testing"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/memory"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

func TestStore(t *testing.T) {
	storetest.TestDomainStore(t, func(*testing.T) shingle.DomainStore { return &memory.Store{} })
	storetest.TestBlobs(t, func(*testing.T) shingle.Blobs { return &memory.Store{} })
}
