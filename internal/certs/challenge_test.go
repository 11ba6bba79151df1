package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/shingle-proxy/shingle"
)

func TestChallengeCertificate_IsThatOfRFC8737(t *testing.T) {
	f := newFixture(t)
	m, other := f.start(), f.start()
	cleanUp, err := m.present(t.Context(), testHost, acme.Challenge{Type: acme.ChallengeTypeTLSALPN01, KeyAuthorization: "token.thumbprint"})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := other.ChallengeCertificate(t.Context(), testHost) // any edge answers
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("token.thumbprint"))
	want, _ := asn1.Marshal(digest[:])
	found := false
	for _, x := range leaf.Extensions {
		found = found || x.Critical && x.Id.Equal(idPeACMEIdentifier) && string(x.Value) == string(want)
	}
	if !found || len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != testHost {
		t.Errorf("certificate %+v", leaf)
	}
	f.advance(challengeLife + time.Second)
	_, err = other.ChallengeCertificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeNotFound)
	f.advance(-2 * time.Second)
	cleanUp()
	_, err = other.ChallengeCertificate(t.Context(), testHost)
	wantCode(t, err, shingle.CodeNotFound)
}
