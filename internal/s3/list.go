package s3

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/shingle-proxy/shingle"
)

// page collects the keys of one List.
type page struct {
	store         *Store
	prefix, after string
	limit         int
	from          string // name after which the next request lists
	keys          []string
}

// startAfter returns a name that none of the names of the keys behind `after`
// sorts before.
func (s *Store) startAfter(after string) string {
	if after == "" {
		return ""
	}
	for i := range len(after) {
		if !inKeys(after[i]) { // nothing is known of how such a byte would sort
			return s.encode(after[:i])
		}
	}
	return s.encode(after) + string(end)
}

// possible reports whether any key can begin with the prefix.
func (p *page) possible() bool {
	for i := range len(p.prefix) {
		if !inKeys(p.prefix[i]) {
			return false
		}
	}
	return !strings.HasPrefix(p.prefix, "/") && !strings.Contains(p.prefix, "//")
}

func inKeys(c byte) bool { return c == '/' || shingle.CheckBlob(string(c), nil) == nil }

// next makes one attempt at one request, and reports whether another is needed.
func (p *page) next(ctx context.Context) (more bool, err error) {
	s := p.store
	in := &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: new(s.encode(p.prefix)), MaxKeys: new(int32(p.limit))}
	if p.from != "" {
		in.StartAfter = &p.from
	}
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return false, s.translate(err, "list", "s3:ListBucket")
	}
	for _, object := range out.Contents {
		if object.Key == nil || *object.Key <= p.from {
			return false, &shingle.Error{Code: shingle.CodeUnavailable, Message: "the S3 server does not list in the order of the names' bytes: it cannot be used"}
		}
		p.from = *object.Key
		key, ok := s.decode(p.from)
		if !ok || key <= p.after || !strings.HasPrefix(key, p.prefix) {
			continue
		}
		if p.keys = append(p.keys, key); len(p.keys) == p.limit {
			return false, nil
		}
	}
	return out.IsTruncated != nil && *out.IsTruncated && len(out.Contents) > 0, nil
}
