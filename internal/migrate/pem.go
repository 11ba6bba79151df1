package migrate

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Bounds of a folder of PEM files.
const (
	maxPEMFiles = 1_000_000
	maxPEMDepth = 8
	maxPEMChain = 8
)

// pemFolder is a folder of PEM files, and all below it: those of certbot, lego, acme.sh
// or whoever. What belongs together is told by the keys, whatever the files are called.
type pemFolder struct {
	dir  fs.FS
	list []pemCertificate // as listed
}

// pemCertificate is a certificate that was found, with what leads from it upwards.
type pemCertificate struct {
	chain   [][]byte
	public  [sha256.Size]byte
	keyFile string // empty: its key was not found
}

func openPEM(dir string) (Source, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	return &pemFolder{dir: os.DirFS(dir)}, nil
}

// pemIndex is what the files of a folder have.
type pemIndex struct {
	leaves  map[[sha256.Size]byte]*pemLeaf // by the hash of the certificate
	keys    map[[sha256.Size]byte]string   // file by the hash of the public key
	parents map[string][]*x509.Certificate // by subject
	files   int
}

type pemLeaf struct {
	file   string
	public [sha256.Size]byte
	cert   *x509.Certificate
}

// List implements [Source]. It reads all files: only then it is known what belongs
// together. The newest come first.
func (p *pemFolder) List(ctx context.Context) ([]Ref, error) {
	x := &pemIndex{leaves: map[[sha256.Size]byte]*pemLeaf{}, keys: map[[sha256.Size]byte]string{}, parents: map[string][]*x509.Certificate{}}
	if err := p.walk(ctx, x, ".", 0); err != nil {
		return nil, err
	}
	leaves := make([]*pemLeaf, 0, len(x.leaves))
	for _, l := range x.leaves {
		leaves = append(leaves, l)
	}
	slices.SortFunc(leaves, func(a, b *pemLeaf) int {
		if c := b.cert.NotBefore.Compare(a.cert.NotBefore); c != 0 {
			return c
		}
		return strings.Compare(a.file, b.file)
	})
	refs := make([]Ref, len(leaves))
	p.list = make([]pemCertificate, len(leaves))
	for i, l := range leaves {
		refs[i] = Ref{Where: l.file, issuer: directoryOf(l.cert), index: i}
		p.list[i] = pemCertificate{chain: x.chain(l.cert), public: l.public, keyFile: x.keys[l.public]}
	}
	return refs, nil
}

// walk reads a folder. Symbolic links are followed, as certbot's live folder has
// them.
func (p *pemFolder) walk(ctx context.Context, x *pemIndex, dir string, depth int) error {
	entries, err := fs.ReadDir(p.dir, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(dir, e.Name())
		info, err := fs.Stat(p.dir, name)
		switch {
		case missing(err):
			continue // a link that leads nowhere
		case err != nil:
			return err
		case info.IsDir() && depth < maxPEMDepth:
			err = p.walk(ctx, x, name, depth+1)
		case info.Mode().IsRegular() && isPEMName(name) && info.Size() <= maxFile:
			err = p.index(x, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isPEMName(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".pem", ".crt", ".cer", ".cert", ".key", ".bundle", ".ca-bundle", ".chain":
		return true
	}
	return false
}

// index takes in what a file has.
func (p *pemFolder) index(x *pemIndex, name string) error {
	if x.files++; x.files > maxPEMFiles {
		return fmt.Errorf("there are more than %d PEM files", maxPEMFiles)
	}
	data, err := readFile(p.dir, name)
	if err != nil {
		return err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE":
			if c, err := x509.ParseCertificate(block.Bytes); err == nil {
				x.addCertificate(name, c)
			}
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			if public, ok := publicHash(block.Bytes); ok {
				x.keys[public] = name
			}
		}
	}
	return nil
}

// addCertificate takes in a certificate. Of the files that have the same one,
// certbot's fullchain.pem tells most.
func (x *pemIndex) addCertificate(file string, c *x509.Certificate) {
	if c.IsCA {
		if list := x.parents[string(c.RawSubject)]; !slices.ContainsFunc(list, c.Equal) {
			x.parents[string(c.RawSubject)] = append(list, c)
		}
		return
	}
	sum := sha256.Sum256(c.Raw)
	if x.leaves[sum] == nil || path.Base(file) == "fullchain.pem" {
		x.leaves[sum] = &pemLeaf{file: file, public: sha256.Sum256(c.RawSubjectPublicKeyInfo), cert: c}
	}
}

// chain returns the certificate and what leads from it upwards, without the root.
func (x *pemIndex) chain(c *x509.Certificate) [][]byte {
	chain := [][]byte{c.Raw}
	for len(chain) < maxPEMChain {
		list := x.parents[string(c.RawIssuer)]
		i := slices.IndexFunc(list, func(p *x509.Certificate) bool {
			return !bytes.Equal(p.RawIssuer, p.RawSubject) && c.CheckSignatureFrom(p) == nil
		})
		if i < 0 {
			break
		}
		c = list[i]
		chain = append(chain, c.Raw)
	}
	return chain
}

// publicHash returns the hash of the public key of a private one.
func publicHash(der []byte) (sum [sha256.Size]byte, ok bool) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		key, err = x509.ParseECPrivateKey(der)
	}
	if err != nil {
		key, err = x509.ParsePKCS1PrivateKey(der)
	}
	if err != nil {
		return sum, false
	}
	var public crypto.PublicKey
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		public = k.Public()
	case *rsa.PrivateKey:
		public = k.Public()
	case ed25519.PrivateKey:
		public = k.Public()
	default:
		return sum, false
	}
	spki, err := x509.MarshalPKIXPublicKey(public)
	return sha256.Sum256(spki), err == nil
}

// Load implements [Source].
func (p *pemFolder) Load(_ context.Context, r Ref) (Certificate, error) {
	found := p.list[r.index]
	out := Certificate{Issuer: r.issuer, Problem: forTests(r.issuer)}
	for _, der := range found.chain {
		out.Chain += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	if found.keyFile == "" {
		out.Problem = "its key is not in this folder, or is encrypted"
		return out, nil
	}
	data, err := readFile(p.dir, found.keyFile)
	if err != nil {
		return out, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if public, ok := publicHash(block.Bytes); ok && public == found.public {
			out.Key = string(pem.EncodeToMemory(block))
		}
	}
	return out, nil
}
