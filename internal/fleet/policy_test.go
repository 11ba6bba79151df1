package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/aws"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// recorder is AWS for one process, with DynamoDB Local behind it. It notes which
// actions of IAM the process would need.
type recorder struct {
	t     *testing.T
	url   string
	table http.Handler
	keys  string // the master key's parameter

	mu      sync.Mutex
	actions map[string]bool
	secrets map[string]bool // parameters that were read
	leaving bool            // the group is about to terminate the instance
	inside  bool            // the instance has an address, or is an endpoint
	stream  bool            // its log stream was made
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	upstream, err := url.Parse(storetest.Endpoint(t, storetest.DynamoDB))
	check(t, err)
	r := &recorder{
		t: t, actions: map[string]bool{}, secrets: map[string]bool{}, keys: shingle.FormatMasterKeys([][]byte{bytes.Repeat([]byte{7}, shingle.MasterKeySize)}),
		table: &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(upstream); p.Out.Host = p.In.Host }},
	}
	s := httptest.NewServer(r)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	r.url = s.URL
	return r
}

func (r *recorder) env() []string {
	return []string{"SHINGLE_DYNAMODB_ENDPOINT=" + r.url, "SHINGLE_SSM_ENDPOINT=" + r.url, "SHINGLE_INSTANCE_ENDPOINT=" + r.url, "SHINGLE_INSTANCE_METADATA=" + r.url, "AWS_ENDPOINT_URL_KMS=" + r.url, "AWS_EC2_METADATA_DISABLED=false"}
}

func (r *recorder) did(action string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.actions[action]
}

// ServeHTTP implements [http.Handler].
func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(q.URL.Path, "/latest/") {
		r.serveMetadata(w, q.URL.Path)
		return
	}
	body, _ := io.ReadAll(q.Body)
	q.Body = io.NopCloser(bytes.NewReader(body))
	scope := strings.Split(q.Header.Get("Authorization"), "/")
	if len(scope) < 5 {
		http.Error(w, "not signed", http.StatusForbidden)
		return
	}
	service := scope[3]
	_, action, _ := strings.Cut(q.Header.Get("X-Amz-Target"), ".")
	if action == "" {
		form, _ := url.ParseQuery(string(body))
		action = form.Get("Action")
	}
	if action == "TransactWriteItems" { // IAM asks for the right to each item's operation
		r.noteTransaction(body)
	} else {
		r.actions[service+":"+action] = true
	}
	if service == "dynamodb" {
		r.mu.Unlock()
		r.table.ServeHTTP(w, q)
		r.mu.Lock()
		return
	}
	r.answer(w, action, body)
}

func (r *recorder) noteTransaction(body []byte) {
	var in struct{ TransactItems []map[string]json.RawMessage }
	_ = json.Unmarshal(body, &in)
	for _, i := range in.TransactItems {
		for kind := range i {
			action := map[string]string{"Put": "PutItem", "Delete": "DeleteItem", "Update": "UpdateItem", "ConditionCheck": "ConditionCheckItem"}[kind]
			r.actions["dynamodb:"+action] = true
		}
	}
}

func (r *recorder) serveMetadata(w http.ResponseWriter, path string) {
	state := "InService"
	if r.leaving {
		state = "Terminated"
	}
	w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60")
	_, _ = io.WriteString(w, map[string]string{
		"/latest/api/token": "token", "/latest/dynamic/instance-identity/document": `{"instanceId":"i-me","region":"eu-central-1"}`,
		"/latest/meta-data/autoscaling/target-lifecycle-state": state,
	}[path])
}

// answer is what AWS says, as far as the process cares.
func (r *recorder) answer(w http.ResponseWriter, action string, body []byte) {
	var in struct{ Plaintext, CiphertextBlob, Name string }
	_ = json.Unmarshal(body, &in)
	switch action {
	case "GetParameter":
		r.secrets[in.Name] = true
		value := r.keys
		if strings.HasSuffix(in.Name, "/oidc-client-secret") {
			value = "client-secret" // of oidctest
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Parameter": map[string]string{"Value": value}})
	case "Encrypt":
		_ = json.NewEncoder(w).Encode(map[string]any{"CiphertextBlob": in.Plaintext, "KeyId": masterKeyARN})
	case "Decrypt":
		_ = json.NewEncoder(w).Encode(map[string]any{"Plaintext": in.CiphertextBlob, "KeyId": masterKeyARN})
	case "DescribeKey":
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyMetadata": map[string]any{
			"KeyId": "mrk-1", "Arn": masterKeyARN, "Enabled": true, "KeyState": "Enabled", "KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT", "MultiRegion": true,
		}})
	case "PutLogEvents":
		if !r.stream {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"ResourceNotFoundException"}`)
			return
		}
		_, _ = io.WriteString(w, "{}")
	case "CreateLogStream":
		r.stream = true
		_, _ = io.WriteString(w, "{}")
	case "DescribeEndpointGroup", "AddEndpoints", "RemoveEndpoints":
		r.inside = action == "AddEndpoints" || action == "DescribeEndpointGroup" && r.inside
		list := []map[string]string{}
		if r.inside {
			list = append(list, map[string]string{"EndpointId": "i-me"})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"EndpointGroup": map[string]any{"EndpointDescriptions": list}})
	case "DescribeAddresses":
		has := ""
		if r.inside {
			has = "<instanceId>i-me</instanceId><associationId>a</associationId>"
		}
		_, _ = fmt.Fprintf(w, "<R><addressesSet><item><allocationId>eip</allocationId>%s</item></addressesSet></R>", has)
	default:
		r.inside = action == "AssociateAddress" || r.inside && action != "DisassociateAddress"
		_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult></%[1]sResult></%[1]sResponse>", action)
	}
}

const masterKeyARN = "arn:aws:kms:eu-central-1:123456789012:key/mrk-1"

// allowed returns the actions of the inline policies of a stack's role.
func allowed(t *testing.T, d *aws.Deployment, stack string) map[string]bool {
	t.Helper()
	for _, s := range d.Stacks() {
		if s.Kind != stack {
			continue
		}
		var template struct {
			Resources struct {
				Role struct {
					Properties struct {
						Policies []struct {
							PolicyDocument struct{ Statement []struct{ Action []string } }
						}
					}
				}
			}
		}
		check(t, json.Unmarshal(s.Template.JSON(), &template))
		all := map[string]bool{}
		for _, p := range template.Resources.Role.Properties.Policies {
			for _, statement := range p.PolicyDocument.Statement {
				for _, action := range statement.Action {
					all[action] = true
				}
			}
		}
		return all
	}
	t.Fatalf("no stack %s", stack)
	return nil
}

// shareTable has noted what another process does with the table.
func (r *recorder) shareTable(of *recorder) {
	of.mu.Lock()
	defer of.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for action := range of.actions {
		if strings.HasPrefix(action, "dynamodb:") {
			r.actions[action] = true
		}
	}
}

// agrees compares what a process did with what its role allows. beside are the
// actions that it may have although the test does not see them, with the reason.
func (r *recorder) agrees(who string, allowed map[string]bool, beside map[string]string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.Logf("%s calls %s", who, strings.Join(slices.Sorted(maps.Keys(r.actions)), ", "))
	for action := range r.actions {
		if !allowed[action] {
			r.t.Errorf("%s calls %s, which its role does not allow", who, action)
		}
	}
	for action := range allowed {
		if !r.actions[action] && beside[action] == "" {
			r.t.Errorf("the role of %s allows %s, which it does not call", who, action)
		}
	}
	for action := range beside {
		if !allowed[action] || r.actions[action] {
			r.t.Errorf("%s: the exception for %s has no reason any more", who, action)
		}
	}
}

// TestPolicies_AreWhatIsCalled has the program do all that it does on AWS, and holds
// the roles in the templates against the calls: nothing is missing, and nothing is
// superfluous.
func TestPolicies_AreWhatIsCalled(t *testing.T) {
	storetest.Endpoint(t, storetest.DynamoDB)
	t.Parallel() // an edge takes 45 s to leave
	httpPort, tlsPort := freePorts(t)
	p := newPrograms(t, httpPort, tlsPort)
	base := p.env
	process := func(r *recorder, more ...string) {
		p.env = append(slices.Clone(base), append(r.env(), more...)...)
	}
	stage := func(front aws.Front, key aws.MasterKey) *aws.Deployment {
		return &aws.Deployment{
			Stage: "prd", Regions: []aws.Region{{Name: "eu-central-1", Edges: 1}}, InstanceType: "t4g.nano", Front: front, MasterKey: key,
			Zone: "example.com", Name: "edge.example.com", Target: "app.example.com", Email: "ops@example.com",
		}
	}
	parameter := "SHINGLE_MASTER_KEY=parameter:/shingle/prd/master-key"
	instance := []string{parameter, "SHINGLE_AWS_GROUP=edges", "SHINGLE_AWS_STACK=arn:stack", "SHINGLE_AWS_LOG=/shingle/prd/edge", "SHINGLE_AWS_STAGE=prd"}

	atFunction := newRecorder(t)
	process(atFunction, parameter, "SHINGLE_AWS_STAGE=prd")
	function := p.runLambda(p.t.TempDir())
	atAddress, atAccelerator := newRecorder(t), newRecorder(t)
	process(atAddress, append(instance, "SHINGLE_AWS_ADDRESSES=prd")...)
	edge := p.start(t.TempDir(), "edge", "--edge-http", fmt.Sprint("127.0.0.1:", httpPort), "--edge-https", fmt.Sprint("127.0.0.1:", tlsPort))
	process(atAccelerator, append(instance, "SHINGLE_AWS_ENDPOINT_GROUPS=arn:tcp,arn:udp")...)
	p.start(t.TempDir(), "edge", "--edge-http", "127.0.0.1:0", "--edge-https", "127.0.0.1:0")
	p.aLife(function, edge)

	atKMS := newRecorder(t)
	process(atKMS, "SHINGLE_MASTER_KEY=kms:"+masterKeyARN, "SHINGLE_TABLE=fleet-kms-"+strings.ToLower(time.Now().Format("150405.000")))
	p.run("store", "create")
	p.aLife(p.runLambda(p.t.TempDir()), nil)

	for _, r := range []*recorder{atAddress, atAccelerator} {
		await(t, "told", func() error {
			if !r.did("logs:PutLogEvents") || !r.did("cloudformation:SignalResource") {
				return errors.New("the instance has not told how it is")
			}
			return nil
		})
		r.mu.Lock()
		r.leaving = true
		r.mu.Unlock()
	}
	for _, r := range []*recorder{atAddress, atAccelerator} {
		await(t, "let go", func() error {
			if !r.did("autoscaling:CompleteLifecycleAction") {
				return errors.New("it is still there")
			}
			return nil
		})
	}

	lambdaLogs := "Lambda writes the log of the function by its role"
	logs := map[string]string{"logs:CreateLogStream": lambdaLogs, "logs:PutLogEvents": lambdaLogs}
	atFunction.agrees("the function", allowed(t, stage(aws.FrontRoute53, aws.MasterKeyParameter), "control"), logs)
	atKMS.shareTable(atFunction) // whatever the master key is
	atAccelerator.shareTable(atAddress)
	for _, action := range []string{"dynamodb:CreateTable", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:UpdateTimeToLive"} {
		delete(atKMS.actions, action) // of shingle store create
	}
	atKMS.agrees("the function with a KMS key", allowed(t, stage(aws.FrontRoute53, aws.MasterKeyKMS), "control"), logs)
	unseen := map[string]string{
		"s3:GetObject":                  "the user data fetches the program",
		"autoscaling:SetInstanceHealth": "an edge that has been sick for three minutes; internal/ec2 has a test of it",
	}
	atAddress.agrees("an edge with an address", allowed(t, stage(aws.FrontRoute53, aws.MasterKeyParameter), "edge"), unseen)
	unseen["iam:CreateServiceLinkedRole"] = "Global Accelerator does it by the role, when its own is not there yet"
	atAccelerator.agrees("an edge of the accelerator", allowed(t, stage(aws.FrontAccelerator, aws.MasterKeyParameter), "edge"), unseen)
}

// aLife has a function, and an edge if there is one, do what they do for a domain, and
// for the rest.
func (p *programs) aLife(function *lambdaRuntime, edge *program) {
	t := p.t
	t.Helper()
	token := function.token(t)
	const host = "shop.customer.localhost"
	do := func(method, path, body string, want int) string {
		t.Helper()
		status, answer, err := function.request(method, path, token, body)
		if err != nil || status != want {
			t.Fatalf("%s %s: %d %s, %v", method, path, status, answer, err)
		}
		return answer
	}
	work := func() {
		t.Helper()
		_, err := function.call(10*time.Second, map[string]string{"shingle": "work"})
		check(t, err)
	}
	do("POST", "/v1/domains", `{"host":"`+host+`","tenant":"acme"}`, http.StatusCreated)
	work()
	if edge == nil {
		return
	}
	await(t, "issued", func() error {
		work()
		status, body, err := function.request("GET", "/v1/certificates/"+host, token, "")
		if err != nil || status != http.StatusOK || !strings.Contains(body, `"state":"valid"`) {
			return fmt.Errorf("certificate: %d %s, %w", status, body, err)
		}
		return nil
	})
	_, err := p.visit(edge, host)
	check(t, err)
	const early = "early.customer.localhost" // its certificate is the edge's to obtain, for its visitor
	do("POST", "/v1/domains", `{"host":"`+early+`"}`, http.StatusCreated)
	_, err = p.visit(edge, early)
	check(t, err)
	do("PATCH", "/v1/domains/"+host, `{"redirect":"www.example.com"}`, http.StatusOK)
	do("GET", "/v1/domains", "", http.StatusOK)
	do("GET", "/v1/events", "", http.StatusOK)
	do("POST", "/v1/certificates/"+host+"/renew", "", http.StatusAccepted)
	work()
	do("DELETE", "/v1/domains/"+host, "", http.StatusNoContent)
	work()
}
