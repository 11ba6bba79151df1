package s3

import (
	"strings"

	"github.com/shingle-proxy/shingle"
)

// An object's name is the store's prefix and the key, changed where S3 or its
// imitators would stumble, and so that names sort as keys do:
//
//   - "!" stands behind each, because a server over a file system cannot keep
//     "a" beside "a/b". It sorts before all that a key is made of.
//   - "-" and "." at the beginning of a segment are "," and "-", because no
//     server should see a segment of dots alone.
//   - "/," is in a segment after each 250 bytes, because a file's name has 255.
//
// certs/blog.example.com is the object certs/blog.example.com!
const (
	end        = '!'
	cut        = "/,"
	maxSegment = 250
)

// encode returns the name of the object for key, without its end: the beginning
// also of the names of all keys that begin with key.
func (s *Store) encode(key string) string {
	b := make([]byte, 0, len(s.folder)+len(key)+8)
	b = append(b, s.folder...)
	first, length := true, 0
	for i := range len(key) {
		if length == maxSegment {
			b, length = append(b, cut...), 0
		}
		c := key[i]
		if c == '/' {
			b, first, length = append(b, c), true, 0
			continue
		}
		if first {
			c = atFirst(c)
		}
		b, first, length = append(b, c), false, length+1
	}
	return string(b)
}

// decode is the way back. ok is false for what is no record of this store.
func (s *Store) decode(name string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(name, s.folder)
	if !ok || rest == "" || rest[len(rest)-1] != end {
		return "", false
	}
	rest = rest[:len(rest)-1]
	b := make([]byte, 0, len(rest))
	for first, length := true, 0; rest != ""; rest = rest[1:] {
		if length == maxSegment {
			if rest, ok = strings.CutPrefix(rest, cut); !ok || rest == "" {
				return "", false
			}
			length = 0
		}
		c := rest[0]
		if c == '/' {
			b, first, length = append(b, c), true, 0
			continue
		}
		if first {
			c = fromFirst(c)
		}
		b, first, length = append(b, c), false, length+1
	}
	key = string(b)
	return key, shingle.CheckBlob(key, nil) == nil && s.encode(key)+string(end) == name
}

func atFirst(c byte) byte {
	switch c {
	case '-':
		return ','
	case '.':
		return '-'
	}
	return c
}

func fromFirst(c byte) byte {
	switch c {
	case ',':
		return '-'
	case '-':
		return '.'
	}
	return c
}
