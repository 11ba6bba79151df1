package files

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Names of files. A system may hold names that differ in case only for one, and
// takes at most 255 bytes. So a capital is written as + and its small letter,
// and a long key as its beginning and a hash; such a file says its key itself.
const (
	suffix     = ".blob" // no other file in the folder has it
	longMark   = "~"     // between beginning and hash; no short name has it
	longPrefix = 100
	maxName    = 200
)

var escaper = func() *strings.Replacer {
	pairs := []string{"/", "=", "*", "%"}
	for c := 'A'; c <= 'Z'; c++ {
		pairs = append(pairs, string(c), "+"+strings.ToLower(string(c)))
	}
	return strings.NewReplacer(pairs...)
}()

// fileName returns the name of the file of a valid key.
func fileName(key string) string {
	name := escaper.Replace(key)
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(key))
		name = name[:longPrefix] + longMark + hex.EncodeToString(sum[:])
	}
	return name + suffix
}

// keyOf reverses fileName. It reports isRecord for a record's file; the key of a
// long one is empty, and stands in the file.
func keyOf(name string) (key string, isRecord bool) {
	name, isRecord = strings.CutSuffix(name, suffix)
	if !isRecord || strings.Contains(name, longMark) {
		return "", isRecord
	}
	b := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '=':
			c = '/'
		case c == '%':
			c = '*'
		case c == '+' && i+1 < len(name):
			i++
			c = name[i] - 'a' + 'A'
		}
		b = append(b, c)
	}
	return string(b), true
}
