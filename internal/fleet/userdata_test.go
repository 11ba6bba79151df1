package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/api"
	"github.com/shingle-proxy/shingle/internal/aws"
	"github.com/shingle-proxy/shingle/internal/certtest"
	"github.com/shingle-proxy/shingle/internal/debiantest"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

const instanceRegion = "us-east-1"

// instance is a Debian that takes itself for an instance at EC2: AWS is played
// under its own names, with moto and versitygw behind them.
type instance struct {
	*debiantest.Machine
	t                 *testing.T
	stage, bucket, id string
	key, secret       string // what the metadata gives out
	moto, s3          string // URLs
	binary            []byte
	sha256            string

	mu      sync.Mutex
	signals []string // calls of CloudFormation
	v1      int      // requests for metadata without IMDSv2's token
}

// TestUserData_BringsUpAnEdge runs what a template has as user data, as it is, on a
// Debian: the binary from the bucket, its hash, the unit, the environment. The edge
// answers a CA's validation and serves a domain.
func TestUserData_BringsUpAnEdge(t *testing.T) {
	t.Parallel()
	i := newInstance(t)
	httpPort, tlsPort := freePorts(t)
	p := playWorld(t, httpPort, tlsPort)
	p.env = append(p.env, "AWS_ACCESS_KEY_ID=control", "AWS_SECRET_ACCESS_KEY=control", "SHINGLE_DYNAMODB_ENDPOINT="+i.moto, "SHINGLE_SSM_ENDPOINT="+i.moto,
		"SHINGLE_TABLE=shingle-"+i.stage, "SHINGLE_TABLE_REGION="+instanceRegion, "SHINGLE_MASTER_KEY=parameter:/shingle/"+i.stage+"/master-key")
	p.run("store", "create")
	i.makeMasterKey()
	forward(t, i.Listen(debiantest.World+":8080"), new(net.Dialer).DialContext, "tcp", strings.TrimPrefix(p.setting("SHINGLE_TARGET"), "http://"))

	// Bytes that are not those of the name: nothing is started.
	i.upload([]byte("#!/bin/sh\necho another program\n"))
	script := i.userData()
	i.Write("/var/lib/cloud/user-data", script, 0o700)
	if out, err := i.Try("/var/lib/cloud/user-data"); err == nil {
		t.Fatalf("a binary with another hash is taken:\n%s", out)
	}
	i.Run("grep", "-q", "another program", "/usr/local/bin/shingle.new") // it is the hash that has ended it
	if out, err := i.Try("sh", "-c", "ls /usr/local/bin/shingle /etc/shingle /etc/systemd/system/shingle.service"); strings.Count(out, "No such file") != 3 {
		t.Errorf("a binary with another hash left something: %s, %v", out, err)
	}

	i.upload(i.binary)
	i.Run("systemd-run", "--wait", "--pipe", "--quiet", "/var/lib/cloud/user-data") // as cloud-init does: root, without a terminal
	if got := i.Run("cat", "/etc/shingle/environment"); !strings.Contains(got, "SHINGLE_TABLE=shingle-"+i.stage+"\n") || strings.Contains(got, "${") {
		t.Errorf("environment:\n%s", got)
	}
	i.Run("grep", "-q", "^net.core.rmem_max", "/etc/sysctl.d/60-shingle.conf")
	await(t, "healthy", func() error { return i.health() })

	// The CA validates at the instance, for an order of the control plane's.
	forward(t, listenOn(t, httpPort), i.Dial, "tcp", debiantest.Address+":80")
	forward(t, listenOn(t, tlsPort), i.Dial, "tcp", debiantest.Address+":443")
	p.talkTo(p.start(t.TempDir(), "control"))
	const host = "shop.customer.localhost"
	_, err := p.client.CreateDomain(t.Context(), api.NewDomain{Host: host})
	check(t, err)
	await(t, "issued", func() error { // before a visit has the instance ask its own CA, which is not there
		c, err := p.client.Certificate(t.Context(), host)
		if err == nil && c.State != "valid" {
			err = errors.New(c.State)
		}
		return err
	})
	visit := func() error { return i.visit(p.root, host) }
	await(t, "served", visit)

	i.checkPlace()
	i.checkUnit(visit)
}

// newInstance boots a machine, with AWS around.
func newInstance(t *testing.T) *instance {
	t.Helper()
	i := &instance{t: t, moto: storetest.Endpoint(t, storetest.Moto), s3: os.Getenv("SHINGLE_TEST_S3"), key: os.Getenv("SHINGLE_TEST_S3_KEY"), secret: os.Getenv("SHINGLE_TEST_S3_SECRET")}
	if i.s3 == "" {
		t.Skip("SHINGLE_TEST_S3 is not set: run `make test`, or, as root, `go run ./scripts/servers -only debian,moto,s3 go test ./internal/fleet`")
	}
	i.Machine = debiantest.Boot(t)
	i.stage = "u" + strings.ToLower(rand.Text()[:10])
	i.bucket = "shingle-" + i.stage
	binary, err := os.ReadFile(buildProgram(t))
	check(t, err)
	sum := sha256.Sum256(binary)
	i.binary, i.sha256 = binary, hex.EncodeToString(sum[:])
	i.id = i.launch()
	i.serve(debiantest.Metadata+":80", nil, http.HandlerFunc(i.metadata))
	i.playAWS()
	return i
}

func (i *instance) serve(address string, cfg *tls.Config, h http.Handler) {
	l := i.Listen(address)
	if cfg != nil {
		l = tls.NewListener(l, cfg)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	i.t.Cleanup(func() { _ = s.Close() })
}

// playAWS answers HTTPS under AWS's names, by a CA that the machine trusts.
func (i *instance) playAWS() {
	ca := certtest.New(i.t, "Played AWS")
	names, hosts := []string{}, "127.0.0.1 localhost\n"
	for _, service := range []string{"s3", "dynamodb", "ssm", "ec2", "autoscaling", "cloudformation"} {
		name := service + "." + instanceRegion + ".amazonaws.com"
		names, hosts = append(names, name), hosts+debiantest.World+" "+name+"\n"
	}
	i.Write("/etc/hosts", hosts, 0o644)
	i.Write("/usr/local/share/ca-certificates/played.crt", certtest.PEM(ca.Root), 0o644)
	i.Run("update-ca-certificates")
	// The CLI has roots of its own, and versitygw no names for buckets.
	i.Write("/root/.aws/config", "[default]\nca_bundle = /etc/ssl/certs/ca-certificates.crt\ns3 =\n  addressing_style = path\n", 0o600)
	leaf := ca.Issue(nil, names...)
	cert, err := tls.X509KeyPair([]byte(leaf.Chain()), []byte(leaf.KeyPEM()))
	check(i.t, err)
	i.serve(debiantest.World+":443", &tls.Config{Certificates: []tls.Certificate{cert}}, http.HandlerFunc(i.aws))
}

func (i *instance) aws(w http.ResponseWriter, r *http.Request) {
	service, _, _ := strings.Cut(r.Host, ".")
	behind := i.moto
	switch service {
	case "cloudformation": // moto does not know signals
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		form, _ := url.ParseQuery(string(body))
		i.mu.Lock()
		i.signals = append(i.signals, fmt.Sprint(form.Get("Action"), " ", form.Get("StackName"), " ", form.Get("LogicalResourceId"), " ", form.Get("UniqueId"), " ", form.Get("Status")))
		i.mu.Unlock()
		_, _ = io.WriteString(w, `<SignalResourceResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"/>`)
		return
	case "s3":
		behind = i.s3
	}
	to, _ := url.Parse(behind)
	(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(to)
		p.Out.Host = p.In.Host // which is signed
	}}).ServeHTTP(w, r)
}

// metadata is that of an instance, by IMDSv2 alone.
func (i *instance) metadata(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/latest/")
	if r.Method == http.MethodPut && path == "api/token" {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		_, _ = io.WriteString(w, "session")
		return
	}
	if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "session" {
		i.mu.Lock()
		i.v1++
		i.mu.Unlock()
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch path {
	case "dynamic/instance-identity/document":
		_ = json.NewEncoder(w).Encode(map[string]string{"region": instanceRegion, "instanceId": i.id})
	case "meta-data/iam/security-credentials/":
		_, _ = io.WriteString(w, "edge")
	case "meta-data/iam/security-credentials/edge":
		_ = json.NewEncoder(w).Encode(map[string]string{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": i.key, "SecretAccessKey": i.secret,
			"Token":       "", // versitygw knows none
			"LastUpdated": time.Now().UTC().Format(time.RFC3339), "Expiration": time.Now().Add(6 * time.Hour).UTC().Format(time.RFC3339)})
	case "meta-data/autoscaling/target-lifecycle-state":
		_, _ = io.WriteString(w, "InService")
	default:
		http.NotFound(w, r)
	}
}

// launch has moto launch an instance, which the machine takes itself for, and an
// address for it.
func (i *instance) launch() (id string) {
	_, rest, _ := strings.Cut(i.ec2("Action=RunInstances&ImageId=ami-12c6146b&MinCount=1&MaxCount=1"), "<instanceId>")
	if id, _, _ = strings.Cut(rest, "<"); !strings.HasPrefix(id, "i-") {
		i.t.Fatalf("moto has launched %q", id)
	}
	i.ec2("Action=AllocateAddress&Domain=vpc&TagSpecification.1.ResourceType=elastic-ip&TagSpecification.1.Tag.1.Key=shingle:edges&TagSpecification.1.Tag.1.Value=" + i.stage)
	return id
}

func (i *instance) ec2(form string) string {
	i.t.Helper()
	r, err := http.NewRequestWithContext(i.t.Context(), http.MethodPost, i.moto, strings.NewReader(form+"&Version=2016-11-15"))
	check(i.t, err)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/"+instanceRegion+"/ec2/aws4_request, SignedHeaders=host, Signature=0") // moto takes the region from it, and does not verify
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultClient.Do(r)
	check(i.t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	check(i.t, err)
	if answer.StatusCode != http.StatusOK {
		i.t.Fatalf("%s: %d %s", form, answer.StatusCode, body)
	}
	return string(body)
}

// config is that of the deployer.
func (i *instance) config(endpoint string) awssdk.Config {
	return awssdk.Config{Region: instanceRegion, BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider(i.key, i.secret, "")}
}

func (i *instance) makeMasterKey() {
	i.t.Helper()
	key := make([]byte, shingle.MasterKeySize)
	_, _ = rand.Read(key)
	_, err := ssm.NewFromConfig(i.config(i.moto)).PutParameter(i.t.Context(), &ssm.PutParameterInput{
		Name: awssdk.String("/shingle/" + i.stage + "/master-key"), Value: awssdk.String(shingle.FormatMasterKeys([][]byte{key})), Type: ssmtypes.ParameterTypeSecureString,
	})
	check(i.t, err)
}

// upload puts something under the name of the stage's binary.
func (i *instance) upload(content []byte) {
	i.t.Helper()
	c := s3.NewFromConfig(i.config(i.s3), func(o *s3.Options) { o.UsePathStyle = true })
	_, err := c.CreateBucket(i.t.Context(), &s3.CreateBucketInput{Bucket: &i.bucket})
	if err != nil && !strings.Contains(err.Error(), "BucketAlreadyOwnedByYou") {
		i.t.Fatal(err)
	}
	_, err = c.PutObject(i.t.Context(), &s3.PutObjectInput{Bucket: &i.bucket, Key: awssdk.String("edge/" + i.sha256), Body: bytes.NewReader(content)})
	check(i.t, err)
}

// userData is the script of the template, with what CloudFormation puts into it.
func (i *instance) userData() string {
	i.t.Helper()
	d := aws.Deployment{
		Stage: i.stage, Regions: []aws.Region{{Name: instanceRegion, Edges: 1}}, InstanceType: "t4g.nano", Front: aws.FrontRoute53, MasterKey: aws.MasterKeyParameter,
		Zone: "example.com", Name: "edge.example.com", Target: "http://" + debiantest.World + ":8080", Email: "ops@example.com",
	}
	check(i.t, d.Validate())
	for _, s := range d.Stacks() {
		var template struct {
			Resources map[string]struct {
				Properties struct {
					LaunchTemplateData struct {
						UserData struct {
							Base64 struct {
								Sub string `json:"Fn::Sub"`
							} `json:"Fn::Base64"`
						}
					}
				}
			}
		}
		check(i.t, json.Unmarshal(s.Template.JSON(), &template))
		if script := template.Resources["Machine"].Properties.LaunchTemplateData.UserData.Base64.Sub; script != "" {
			return strings.NewReplacer("${AWS::Region}", instanceRegion, "${Bucket}", i.bucket, "${BinarySHA256}", i.sha256,
				"${AWS::StackId}", "arn:aws:cloudformation:us-east-1:123456789012:stack/edges/1", "${!", "${").Replace(script)
		}
	}
	i.t.Fatal("no stack has user data")
	return ""
}

func (i *instance) client(cfg *tls.Config) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: cfg,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(address)
			return i.Dial(ctx, network, net.JoinHostPort(debiantest.Address, port))
		},
	}}
}

func (i *instance) health() error {
	answer, err := i.client(nil).Get("http://" + debiantest.Address + "/health")
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	if err == nil {
		err = answer.Body.Close()
	}
	return err
}

// checkPlace holds the instance to what AWS was told of it.
func (i *instance) checkPlace() {
	i.t.Helper()
	want := "SignalResource arn:aws:cloudformation:us-east-1:123456789012:stack/edges/1 Edges " + i.id + " SUCCESS"
	await(i.t, "signalled", func() error {
		i.mu.Lock()
		defer i.mu.Unlock()
		if len(i.signals) != 1 || i.signals[0] != want {
			return fmt.Errorf("CloudFormation heard %q, not %q", i.signals, want)
		}
		return nil
	})
	if got := i.ec2("Action=DescribeAddresses&Filter.1.Name=tag:shingle:edges&Filter.1.Value.1=" + i.stage); !strings.Contains(got, "<instanceId>"+i.id+"<") {
		i.t.Errorf("the stage's address is not the instance's: %s", got)
	}
	if i.v1 > 0 {
		i.t.Errorf("%d requests for metadata had no token of IMDSv2", i.v1)
	}
}
