package aws

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/shingle-proxy/shingle"
)

// Artifacts are the binary that a stage runs, in the forms in which it is
// fetched. Their names are their hashes, so that a new binary is a new name.
type Artifacts struct {
	binary, code []byte
	sha256       string // of the binary, in hex
	codeKey      string
}

const maxBinary = 200 << 20 // bytes; Lambda takes 250 MiB

// ReadArtifacts reads a binary for Linux on arm64.
func ReadArtifacts(path string) (*Artifacts, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read binary: %w", err)
	}
	if info.Size() > maxBinary {
		return nil, shingle.Errorf(shingle.CodeInvalid, "%s has %d MiB; at most %d can be deployed", path, info.Size()>>20, maxBinary>>20)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read binary: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil || f.Machine != elf.EM_AARCH64 {
		return nil, shingle.Errorf(shingle.CodeInvalid, "%s is no program for Linux on arm64: build one with GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build -o shingle-arm64 ./cmd/shingle", path)
	}
	return newArtifacts(binary)
}

func newArtifacts(binary []byte) (*Artifacts, error) {
	code, err := bootstrap(binary)
	if err != nil {
		return nil, err
	}
	sum, codeSum := sha256.Sum256(binary), sha256.Sum256(code)
	return &Artifacts{
		binary: binary, code: code,
		sha256: hex.EncodeToString(sum[:]), codeKey: "control/" + hex.EncodeToString(codeSum[:]) + ".zip",
	}, nil
}

// bootstrap is the ZIP file that Lambda takes: the same bytes for the same binary.
func bootstrap(binary []byte) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = w.Write(binary)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("pack binary: %w", err)
	}
	return b.Bytes(), nil
}

// param answers the parameters of stacks that name an artifact.
func (a *Artifacts) param(name string) (value string, ok bool) {
	if a == nil {
		return "", false
	}
	switch name {
	case "BinarySHA256":
		return a.sha256, true
	case "Code":
		return a.codeKey, true
	}
	return "", false
}

// upload puts the artifacts into the bucket, unless they are there.
func (a *Artifacts) upload(ctx context.Context, c *s3.Client, bucket string, say func(what string)) error {
	for _, each := range []struct {
		key   string
		value []byte
	}{{"edge/" + a.sha256, a.binary}, {a.codeKey, a.code}} {
		_, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &each.key})
		if err == nil {
			continue
		}
		if _, missing := errors.AsType[*types.NotFound](err); !missing {
			if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "NotFound" && e.ErrorCode() != "NoSuchKey" {
				return fmt.Errorf("look for s3://%s/%s: %w", bucket, each.key, err)
			}
		}
		say(fmt.Sprintf("s3://%s/%s (%d MiB)", bucket, each.key, len(each.value)>>20))
		_, err = c.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &bucket, Key: &each.key, Body: bytes.NewReader(each.value), ContentLength: aws.Int64(int64(len(each.value))),
			ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		})
		if err != nil {
			return fmt.Errorf("upload s3://%s/%s: %w", bucket, each.key, err)
		}
	}
	return nil
}
