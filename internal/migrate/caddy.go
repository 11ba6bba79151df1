package migrate

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// maxFile bounds what is read of one file; certificates and keys are far smaller.
const maxFile = 1 << 20

// folder is a storage of CertMagic in a folder.
type folder struct{ dir fs.FS }

func openCaddy(dir string) (Source, error) {
	f := &folder{os.DirFS(dir)}
	if info, err := fs.Stat(f.dir, certificatesPrefix); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s has no folder %s: name the storage of Caddy, such as /var/lib/caddy/.local/share/caddy", dir, certificatesPrefix)
	}
	return &certmagicStore{f}, nil
}

// keys implements storage. A folder that cannot be read is an error: it could be
// that of a customer.
func (f *folder) keys(ctx context.Context) ([]string, error) {
	var list []string
	issuers, err := fs.ReadDir(f.dir, certificatesPrefix)
	if err != nil {
		return nil, err
	}
	for _, issuer := range issuers {
		sites, err := fs.ReadDir(f.dir, path.Join(certificatesPrefix, issuer.Name()))
		if err != nil {
			return nil, err
		}
		for _, site := range sites {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			list = append(list, path.Join(certificatesPrefix, issuer.Name(), site.Name(), site.Name()+".crt"))
		}
	}
	return list, nil
}

func (f *folder) load(_ context.Context, keys []string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		var err error
		if values[i], err = readFile(f.dir, key); err != nil && !missing(err) {
			return nil, err
		}
	}
	return values, nil
}

// readFile reads a file of a certificate or key.
func readFile(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = &problem{fmt.Sprintf("%s is too large", name)}
	}
	return data, err
}
