package traffic

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/shingle-proxy/shingle"
)

// record is a part as it is stored.
type record struct {
	Run string `json:"run"` // the process that wrote it
	// Data is compressed: a number for its form, how many domains there are, their names
	// by their order, and for each kind of count the numbers of all domains.
	Data []byte `json:"data"`
}

const (
	formOne    = 1
	maxUnfolds = 2 << 20 // bytes of Data, when they are no longer compressed
)

var errRecord = errors.New("a record of traffic cannot be read: is this process of an older version?")

// columns are the numbers of a count, in the order in which they are stored.
func columns(t *shingle.Traffic) []*uint64 {
	list := make([]*uint64, 0, len(t.Answers)+5)
	for class := range t.Answers {
		list = append(list, &t.Answers[class])
	}
	return append(list, &t.Origin5xx, &t.OriginErrors, &t.Refused, &t.BytesIn, &t.BytesOut)
}

func encode(counts map[string]shingle.Traffic) []byte {
	domains := slices.Sorted(maps.Keys(counts))
	plain := binary.AppendUvarint([]byte{formOne}, uint64(len(domains)))
	list := make([]shingle.Traffic, len(domains))
	for i, domain := range domains {
		plain = append(binary.AppendUvarint(plain, uint64(len(domain))), domain...)
		list[i] = counts[domain]
	}
	for column := range columns(&shingle.Traffic{}) {
		for i := range list {
			plain = binary.AppendUvarint(plain, *columns(&list[i])[column])
		}
	}
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestCompression) // the level is one that there is
	_, _ = w.Write(plain)                                // into memory
	_ = w.Close()
	return out.Bytes()
}

func decode(data []byte) (map[string]shingle.Traffic, error) {
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data)), maxUnfolds+1))
	if err != nil || len(plain) == 0 || len(plain) > maxUnfolds || plain[0] != formOne {
		return nil, errors.Join(errRecord, err)
	}
	r := bytes.NewReader(plain[1:])
	n, err := binary.ReadUvarint(r)
	if err != nil || n > uint64(len(plain)) { // each takes some bytes
		return nil, errors.Join(errRecord, err)
	}
	domains, list := make([]string, n), make([]shingle.Traffic, n)
	for i := range domains {
		size, err := binary.ReadUvarint(r)
		if err != nil || size > uint64(r.Len()) {
			return nil, errors.Join(errRecord, err)
		}
		name := make([]byte, size)
		_, _ = io.ReadFull(r, name) // there are so many
		domains[i] = string(name)
	}
	for column := range columns(&shingle.Traffic{}) {
		for i := range list {
			if *columns(&list[i])[column], err = binary.ReadUvarint(r); err != nil {
				return nil, fmt.Errorf("%w: %w", errRecord, err)
			}
		}
	}
	counts := make(map[string]shingle.Traffic, n)
	for i, domain := range domains {
		counts[domain] = list[i]
	}
	return counts, nil
}
