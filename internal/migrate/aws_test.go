package migrate

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/crypto/nacl/secretbox"

	"github.com/shingle-proxy/shingle/internal/certtest"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// eachKey calls f for all that CertMagic has stored in a folder.
func eachKey(t *testing.T, dir string, f func(key string, value []byte)) {
	t.Helper()
	root := os.DirFS(dir)
	check(t, fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		value, err := fs.ReadFile(root, name)
		f(name, value)
		return err
	}))
}

// wantHosts fails unless the source has the certificates of all hosts, whole.
func wantHosts(t *testing.T, s Source, hosts ...string) {
	t.Helper()
	all := collect(t, s)
	if len(all) != len(hosts) {
		t.Errorf("%d certificates, want %d", len(all), len(hosts))
	}
	for _, host := range hosts {
		wantCertificate(t, all["certificates/"+letsEncrypt+"/"+host+"/"+host+".crt"], host, "https://acme-v02.api.letsencrypt.org/directory")
	}
}

// TestTable_ItemsOfCertmagicStorageDynamoDB has the items that the plugin writes:
// certificates beside accounts and locks, on several pages.
func TestTable_ItemsOfCertmagicStorageDynamoDB(t *testing.T) {
	for _, server := range []string{storetest.DynamoDB, storetest.Moto} {
		t.Run(server, func(t *testing.T) {
			o := Options{Endpoint: storetest.Endpoint(t, server)}
			t.Setenv("AWS_ACCESS_KEY_ID", "migrate")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "migrate")
			name := "certmagic-" + strings.ToLower(rand.Text())
			if _, err := mustOpen(t, "dynamodb:eu-central-1/"+name, o).List(t.Context()); err == nil || !strings.Contains(err.Error(), "ResourceNotFoundException") {
				t.Errorf("no such table: %v", err)
			}
			client := newTable(t, Options{Region: "eu-central-1", Endpoint: o.Endpoint}, name)
			put := func(key string, contents types.AttributeValue) {
				_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &name, Item: map[string]types.AttributeValue{
					"PrimaryKey": &types.AttributeValueMemberS{Value: key}, "Contents": contents,
					"LastUpdated": &types.AttributeValueMemberS{Value: time.Now().Format(time.RFC3339)},
				}})
				check(t, err)
			}
			dir := caddyFolder(t, &issuer{certtest.New(t, "Example"), letsEncrypt, ""}, "a.example.com", "b.example.com")
			eachKey(t, dir, func(key string, value []byte) {
				put(key, &types.AttributeValueMemberS{Value: base64.StdEncoding.EncodeToString(value)})
			})
			put("LOCK-issue_cert_a.example.com", &types.AttributeValueMemberS{Value: "x"})
			put("acme/acme-v02.api.letsencrypt.org-directory/users/default/default.key", &types.AttributeValueMemberS{Value: "eA=="})
			for i := range 8 { // more than a page, which has 1 MB
				put("filler/"+string(rune('a'+i)), &types.AttributeValueMemberS{Value: strings.Repeat("x", 300<<10)})
			}
			wantHosts(t, mustOpen(t, "dynamodb:eu-central-1/"+name, o), "a.example.com", "b.example.com")
			put("certificates/"+letsEncrypt+"/a.example.com/a.example.com.key", &types.AttributeValueMemberS{Value: "?"})
			if c := collect(t, mustOpen(t, "dynamodb:eu-central-1/"+name, o))["certificates/"+letsEncrypt+"/a.example.com/a.example.com.crt"]; !strings.Contains(c.Problem, "not one of certmagic-storage-dynamodb") {
				t.Errorf("problem %q", c.Problem)
			}
		})
	}
}

func newTable(t *testing.T, o Options, name string) *dynamodb.Client {
	t.Helper()
	cfg, err := o.load(t.Context())
	check(t, err)
	client := dynamodb.NewFromConfig(cfg)
	_, err = client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("PrimaryKey"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("PrimaryKey"), KeyType: types.KeyTypeHash}},
	})
	check(t, err)
	return client
}

// TestBucket_ObjectsOfCertmagicS3 has the objects that the plugins write, plain and
// sealed, with and without a prefix.
func TestBucket_ObjectsOfCertmagicS3(t *testing.T) {
	o := Options{Region: "us-east-1", Endpoint: storetest.Endpoint(t, storetest.S3)}
	t.Setenv("AWS_ACCESS_KEY_ID", os.Getenv("SHINGLE_TEST_S3_KEY"))
	t.Setenv("AWS_SECRET_ACCESS_KEY", os.Getenv("SHINGLE_TEST_S3_SECRET"))
	source, err := openBucket("x", o)
	check(t, err)
	client, err := source.(*certmagicStore).storage.(*bucket).client(t.Context())
	check(t, err)
	name := "caddy-" + strings.ToLower(rand.Text())
	if _, err := mustOpen(t, "s3:"+name, o).List(t.Context()); err == nil || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Errorf("no such bucket: %v", err)
	}
	_, err = client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name})
	check(t, err)
	dir := caddyFolder(t, &issuer{certtest.New(t, "Example"), letsEncrypt, ""}, "a.example.com", "b.example.com")
	key := [32]byte([]byte("0123456789abcdef0123456789abcdef"))
	eachKey(t, dir, func(k string, value []byte) {
		var nonce [24]byte
		_, _ = rand.Read(nonce[:])
		putObject(t, client, name, k, value)
		putObject(t, client, name, "acme/"+k, value)
		putObject(t, client, name, "sealed/"+k, secretbox.Seal(nonce[:], value, &nonce, &key))
	})
	hosts := []string{"a.example.com", "b.example.com"}
	wantHosts(t, mustOpen(t, "s3://"+name, o), hosts...)
	wantHosts(t, mustOpen(t, "s3:"+name+"/acme/", o), hosts...)
	for words, secret := range map[string][]byte{"--encryption-key-file": nil, "does not open": bytes.Repeat([]byte("x"), 32)} {
		o.EncryptionKey = secret
		for where, c := range collect(t, mustOpen(t, "s3:"+name+"/sealed", o)) {
			if !strings.Contains(c.Problem, words) {
				t.Errorf("%s: problem %q, want %s", where, c.Problem, words)
			}
		}
	}
	o.EncryptionKey = key[:]
	wantHosts(t, mustOpen(t, "s3:"+name+"/sealed", o), hosts...)
}

func putObject(t *testing.T, client *s3.Client, bucket, key string, value []byte) {
	t.Helper()
	_, err := client.PutObject(context.Background(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(value)})
	check(t, err)
}
