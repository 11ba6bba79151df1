package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/certs"
	"github.com/shingle-proxy/shingle/internal/keyfile"
	"github.com/shingle-proxy/shingle/internal/kms"
)

// checkKeys tries the master key of this machine on what is in the store. It makes
// no key.
func (c *Config) checkKeys(ctx context.Context, blobs shingle.Blobs, r *StoreReport) {
	f := shingle.StoreFinding{Check: "master key", Severity: shingle.SeverityFailed}
	defer func() { r.Add(f) }()
	if _, err := os.Stat(c.Data); errors.Is(err, fs.ErrNotExist) && (c.MasterKey == "" || c.MasterKey == "file") {
		f.Severity, f.Message = shingle.SeverityUnknown, "this machine has no folder "+c.Data
		return
	}
	master, err := c.readMasterKey(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Message, _ = explain(err)
		return
	}
	is := certs.CheckMasterKey(ctx, blobs, master)
	switch {
	case is.DataKeys == 0 && is.Why == nil:
		f.Severity, f.Message = shingle.SeverityOK, "nothing is sealed yet"
	case is.Closed == 0 && is.Why == nil:
		f.Severity, f.Message = shingle.SeverityOK, fmt.Sprintf("opens all data keys, %d of them", is.DataKeys)
	case is.Closed == 0:
		f.Message, f.Do = explain(is.Why)
	default:
		f.Message = fmt.Sprintf("%d of %d data keys are not opened: certificates under them cannot be served (%s)", is.Closed, is.DataKeys, is.Why)
		f.Do = "put the " + keyFileName + " files of the machine that sealed them into " + c.Data + ", or name the right key with --master-key"
	}
}

// readMasterKey opens the master key, of which there may be none yet: then what is
// returned opens nothing.
func (c *Config) readMasterKey(ctx context.Context) (*masterKeys, error) {
	kind, value, err := c.masterKey()
	switch {
	case err != nil:
		return nil, err
	case kind != "file":
		return c.openMasterKey(ctx)
	}
	k := &masterKeys{kms: sync.OnceValues(func() (*kms.Key, error) { return kms.Open(context.WithoutCancel(ctx), kms.Config{}) })}
	files, err := keyfile.Read(value)
	if err == nil {
		k.MasterKey, k.files = files, files
	}
	return k, err
}
