package edge

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/shingle-proxy/shingle"
)

// snapshotFile is the table on this machine's disk, from which an edge starts
// when it cannot reach the store, and without reading all domains when it can:
//
//	shingle-table 2
//	{"store":"sqlite:/var/lib/shingle/shingle.db","cursor":"42","domains":2,...}
//
// as two lines, then the domains, then the SHA-256 of all before it. A domain is
// its key, a byte that says what is set, and that: an origin, a redirect, what else
// the edge is to do; each text with its length in front, as a uvarint. The last one,
// which many domains may share, is written once: 0 and the text, and later its
// number, counted from 1. Version 1 is the same without it.
type snapshotFile struct {
	path  string
	store string // of which store the domains are; a file of another one is not used
}

// snapshotHead is the second line.
type snapshotHead struct {
	Store   string         `json:"store"`
	Cursor  shingle.Cursor `json:"cursor"` // where the feed goes on
	Domains int            `json:"domains"`
	Written time.Time      `json:"written"`
}

const (
	snapshotMagic   = "shingle-table 2\n"
	snapshotMagic1  = "shingle-table 1\n"
	maxSnapshotHead = 8 << 10
	maxSnapshotText = 40 << 10 // of a name or a setting; a row's are shorter, and the reader's buffer holds one
)

// Bits of what is set for a domain.
const (
	isPaused = 1 << iota
	hasOrigin
	hasRedirect
	hasMore
)

// write replaces the file as a whole, and returns its size in bytes.
func (s snapshotFile) write(p *picture, head snapshotHead) (size int64, err error) {
	head.Store, head.Domains = s.store, p.len()
	temporary := s.path + ".new" // always the same: a killed writer leaves one at most
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	size, err = writeSnapshot(f, p, head)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return 0, errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, s.path); err != nil {
		return 0, err
	}
	return size, syncDir(filepath.Dir(s.path))
}

func writeSnapshot(w io.Writer, p *picture, head snapshotHead) (size int64, err error) {
	sum := &hashed{hash: sha256.New()}
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	line, err := json.Marshal(head)
	if err != nil {
		return 0, err
	}
	_, _ = fmt.Fprintf(out, "%s%s\n", snapshotMagic, line) // the writer keeps its error for Flush
	var record []byte
	written := map[shingle.SettingsText]uint64{}
	for name, is := range p.all() {
		record = appendDomain(record[:0], name, is, written)
		if _, err := out.Write(record); err != nil {
			return 0, err
		}
	}
	if err := out.Flush(); err != nil {
		return 0, err
	}
	_, err = w.Write(sum.hash.Sum(nil))
	return sum.bytes + sha256.Size, err
}

func appendDomain(b, name []byte, is settings, written map[shingle.SettingsText]uint64) []byte {
	var set byte
	if is.paused {
		set |= isPaused
	}
	if is.origin != "" {
		set |= hasOrigin
	}
	if is.redirect != "" {
		set |= hasRedirect
	}
	if is.more != "" {
		set |= hasMore
	}
	b = appendText(b, string(name))
	b = append(b, set)
	if is.origin != "" {
		b = appendText(b, is.origin)
	}
	if is.redirect != "" {
		b = appendText(b, is.redirect)
	}
	if is.more == "" {
		return b
	}
	number := written[is.more]
	b = binary.AppendUvarint(b, number)
	if number == 0 {
		written[is.more] = uint64(len(written) + 1)
		b = appendText(b, string(is.more))
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// read returns the picture in the file, for the table. The error is
// [os.ErrNotExist] when there is none.
func (s snapshotFile) read(t *table) (*picture, snapshotHead, error) {
	var head snapshotHead
	f, err := os.Open(s.path)
	if err != nil {
		return nil, head, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, head, err
	}
	sum := &hashed{hash: sha256.New()}
	in := &snapshotReader{Reader: bufio.NewReaderSize(io.TeeReader(io.LimitReader(f, info.Size()-sha256.Size), sum), 64<<10)}
	if head, err = in.head(); err != nil {
		return nil, head, err
	}
	if head.Store != s.store {
		return nil, head, fmt.Errorf("it is of the store %q, and this one is %q", head.Store, s.store)
	}
	p := t.newPicture()
	for range head.Domains {
		name, is, err := in.domain()
		if err != nil {
			return nil, head, err
		}
		p.add(name, is)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, head, errDamaged
	}
	want := make([]byte, sha256.Size)
	if _, err := f.ReadAt(want, info.Size()-sha256.Size); err != nil || !bytes.Equal(want, sum.hash.Sum(nil)) {
		return nil, head, errDamaged
	}
	return p, head, nil
}

var errDamaged = errors.New("it is damaged")

// snapshotReader reads the parts of a snapshot.
type snapshotReader struct {
	*bufio.Reader
	more []shingle.SettingsText // in the order in which they came
}

func (r *snapshotReader) head() (head snapshotHead, err error) {
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(r, magic); err != nil || (string(magic) != snapshotMagic && string(magic) != snapshotMagic1) {
		return head, errors.New("it is not of this version")
	}
	line, err := r.ReadSlice('\n')
	if err != nil || len(line) > maxSnapshotHead || json.Unmarshal(line, &head) != nil || head.Domains < 0 {
		return head, errDamaged
	}
	return head, nil
}

func (r *snapshotReader) domain() (name string, is settings, err error) {
	if name, err = r.text(); err != nil {
		return "", is, err
	}
	set, err := r.ReadByte()
	if err != nil {
		return "", is, errDamaged
	}
	is.paused = set&isPaused != 0
	if set&hasOrigin != 0 {
		if is.origin, err = r.text(); err != nil {
			return "", is, err
		}
	}
	if set&hasRedirect != 0 {
		if is.redirect, err = r.text(); err != nil {
			return "", is, err
		}
	}
	if set&hasMore != 0 {
		is.more, err = r.settings()
	}
	return name, is, err
}

// settings reads a text, or the number of one that was read before.
func (r *snapshotReader) settings() (shingle.SettingsText, error) {
	number, err := binary.ReadUvarint(r)
	switch {
	case err != nil || number > uint64(len(r.more)):
		return "", errDamaged
	case number > 0:
		return r.more[number-1], nil
	}
	text, err := r.text()
	if err != nil || text == "" {
		return "", errDamaged
	}
	r.more = append(r.more, shingle.SettingsText(text))
	return shingle.SettingsText(text), nil
}

func (r *snapshotReader) text() (string, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil || n > maxSnapshotText {
		return "", errDamaged
	}
	if b, err := r.Peek(int(n)); err == nil { // it is in the buffer, as nearly always
		text := string(b)
		_, _ = r.Discard(int(n)) // as many as were seen
		return text, nil
	}
	return "", errDamaged
}

// hashed counts and hashes what is written to it.
type hashed struct {
	hash  hash.Hash
	bytes int64
}

// Write implements [io.Writer].
func (h *hashed) Write(p []byte) (int, error) {
	h.bytes += int64(len(p))
	return h.hash.Write(p)
}

// syncDir makes the names in dir survive a crash of the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
