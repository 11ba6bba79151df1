package ec2

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeAWS is the instance's metadata and the calls that an instance makes.
type fakeAWS struct {
	mu        sync.Mutex
	state     string            // target lifecycle state; empty: of no group
	addresses map[string]string // allocation -> instance
	endpoints []string
	calls     []string
	log       []string // lines
	stream    string   // of the log; empty: there is none
	refuse    string   // a call that is refused
	lose      string   // a call whose first reply is lost
	letGo     bool
}

func newFakeAWS(t *testing.T, cfg Config) (*fakeAWS, Cloud) {
	t.Helper()
	f := &fakeAWS{state: "InService", addresses: map[string]string{"eip-1": "i-other", "eip-2": ""}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	cfg.Endpoint, cfg.MetadataEndpoint = s.URL, s.URL
	c, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f, c
}

func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serve(w, r)
	if len(f.calls) > 0 && f.calls[len(f.calls)-1] == f.lose {
		f.lose = ""
		panic(http.ErrAbortHandler)
	}
}

func (f *fakeAWS) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/latest/api/token":
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60")
		_, _ = fmt.Fprint(w, "token")
		return
	case "/latest/dynamic/instance-identity/document":
		_, _ = fmt.Fprint(w, `{"instanceId":"i-me","region":"eu-west-1"}`)
		return
	case "/latest/meta-data/autoscaling/target-lifecycle-state":
		if f.state == "" {
			http.NotFound(w, r)
			return
		}
		_, _ = fmt.Fprint(w, f.state)
		return
	}
	body, _ := io.ReadAll(r.Body)
	if r.Header.Get("Authorization") == "" {
		http.Error(w, "not signed", http.StatusForbidden)
		return
	}
	if target := r.Header.Get("X-Amz-Target"); strings.HasPrefix(target, "Logs_") {
		f.serveLogs(w, target, body)
		return
	} else if target != "" {
		f.serveAccelerator(w, target, body)
		return
	}
	form, _ := url.ParseQuery(string(body))
	action := form.Get("Action")
	f.calls = append(f.calls, action)
	if action == f.refuse {
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized</Message></Error></Errors></Response>")
		return
	}
	switch action {
	case "DescribeAddresses":
		_, _ = fmt.Fprint(w, "<DescribeAddressesResponse><addressesSet>")
		for _, id := range []string{"eip-1", "eip-2"} {
			_, _ = fmt.Fprintf(w, "<item><allocationId>%s</allocationId>", id)
			if instance := f.addresses[id]; instance != "" {
				_, _ = fmt.Fprintf(w, "<instanceId>%s</instanceId><associationId>assoc-%s</associationId>", instance, id)
			}
			_, _ = fmt.Fprint(w, "</item>")
		}
		_, _ = fmt.Fprint(w, "</addressesSet></DescribeAddressesResponse>")
	case "AssociateAddress":
		f.addresses[form.Get("AllocationId")] = form.Get("InstanceId")
		_, _ = fmt.Fprint(w, "<AssociateAddressResponse/>")
	case "DisassociateAddress":
		f.addresses[strings.TrimPrefix(form.Get("AssociationId"), "assoc-")] = ""
		_, _ = fmt.Fprint(w, "<DisassociateAddressResponse/>")
	case "CompleteLifecycleAction":
		if f.letGo {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, "<ErrorResponse><Error><Code>ValidationError</Code><Message>No active Lifecycle Action found with instance ID i-me</Message></Error></ErrorResponse>")
			return
		}
		f.letGo = true
		_, _ = fmt.Fprint(w, "<CompleteLifecycleActionResponse><CompleteLifecycleActionResult/></CompleteLifecycleActionResponse>")
	default:
		_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult></%[1]sResult></%[1]sResponse>", action)
	}
}

func (f *fakeAWS) serveAccelerator(w http.ResponseWriter, target string, body []byte) {
	var in struct {
		EndpointConfigurations []struct{ EndpointId string }
		EndpointIdentifiers    []struct{ EndpointId string }
	}
	_ = json.Unmarshal(body, &in)
	_, action, _ := strings.Cut(target, ".")
	f.calls = append(f.calls, action)
	type endpoint struct{ EndpointId string }
	there := slices.Contains(f.endpoints, "i-me")
	switch {
	case action == "AddEndpoints" && there:
		jsonFault(w, "EndpointAlreadyExistsException")
		return
	case action == "RemoveEndpoints" && !there:
		jsonFault(w, "EndpointNotFoundException")
		return
	}
	switch action {
	case "AddEndpoints":
		f.endpoints = append(f.endpoints, in.EndpointConfigurations[0].EndpointId)
	case "RemoveEndpoints":
		f.endpoints = slices.DeleteFunc(f.endpoints, func(id string) bool { return id == in.EndpointIdentifiers[0].EndpointId })
	}
	list := []endpoint{}
	for _, id := range f.endpoints {
		list = append(list, endpoint{id})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"EndpointGroup": map[string]any{"EndpointDescriptions": list}})
}

func (f *fakeAWS) serveLogs(w http.ResponseWriter, target string, body []byte) {
	var in struct {
		LogStreamName string
		LogEvents     []struct{ Message string }
	}
	_ = json.Unmarshal(body, &in)
	_, action, _ := strings.Cut(target, ".")
	f.calls = append(f.calls, action)
	switch {
	case action == "CreateLogStream" && f.stream != "":
		jsonFault(w, "ResourceAlreadyExistsException")
		return
	case action == "CreateLogStream":
		f.stream = in.LogStreamName
	case f.stream != in.LogStreamName:
		jsonFault(w, "ResourceNotFoundException")
		return
	default:
		f.log = append(f.log, in.LogEvents[0].Message)
	}
	_, _ = fmt.Fprint(w, "{}")
}

func jsonFault(w http.ResponseWriter, code string) {
	w.WriteHeader(http.StatusBadRequest)
	_, _ = fmt.Fprintf(w, `{"__type":%q,"message":"no"}`, code)
}

func (f *fakeAWS) count(call string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == call {
			n++
		}
	}
	return n
}

func TestCloud_TakesAFreeAddressAndGivesItBack(t *testing.T) {
	f, c := newFakeAWS(t, Config{Stage: "prd"})
	for range 2 {
		if err := c.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if f.addresses["eip-2"] != "i-me" || f.addresses["eip-1"] != "i-other" || f.count("AssociateAddress") != 1 {
		t.Errorf("addresses %v after %v", f.addresses, f.calls)
	}
	for range 2 {
		if err := c.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if f.addresses["eip-2"] != "" || f.addresses["eip-1"] != "i-other" {
		t.Errorf("after it left: %v", f.addresses)
	}
	f.addresses["eip-2"] = "i-third"
	if err := c.Enter(t.Context()); !errors.Is(err, ErrFull) {
		t.Errorf("all addresses are taken: %v", err)
	}
	f.refuse = "DescribeAddresses"
	if err := c.Enter(t.Context()); err == nil || !strings.Contains(err.Error(), "UnauthorizedOperation: You are not authorized") {
		t.Errorf("without the right: %v", err)
	}
}

func TestCloud_EntersTheAcceleratorAndComesBackWhenRemoved(t *testing.T) {
	f, c := newFakeAWS(t, Config{EndpointGroups: []string{"arn:tcp"}})
	f.endpoints = []string{"i-other"}
	for range 2 {
		if err := c.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(f.endpoints, []string{"i-other", "i-me"}) || f.count("AddEndpoints") != 1 {
		t.Errorf("endpoints %v after %v", f.endpoints, f.calls)
	}
	f.endpoints = nil // an update of the stack has put them out
	if err := c.Enter(t.Context()); err != nil || !slices.Equal(f.endpoints, []string{"i-me"}) {
		t.Errorf("endpoints %v, %v", f.endpoints, err)
	}
	for range 2 {
		if err := c.Leave(t.Context()); err != nil || len(f.endpoints) != 0 {
			t.Errorf("after it left: %v, %v", f.endpoints, err)
		}
	}
}

func TestCloud_KnowsWhenToLeave(t *testing.T) {
	f, c := newFakeAWS(t, Config{Group: "edges", Stack: "arn:stack"})
	for state, want := range map[string]bool{"InService": false, "Terminated": true, "": false} {
		f.state = state
		if leaving, err := c.Leaving(t.Context()); err != nil || leaving != want {
			t.Errorf("in state %q it leaves: %v, %v", state, leaving, err)
		}
	}
	if err := errors.Join(c.Signal(t.Context()), c.Unfit(t.Context()), c.LetGo(t.Context())); err != nil {
		t.Error(err)
	}
	for _, call := range []string{"SignalResource", "SetInstanceHealth", "CompleteLifecycleAction"} {
		if f.count(call) != 1 {
			t.Errorf("%s was called %d times", call, f.count(call))
		}
	}
}

func TestCloud_WritesIntoTheLog(t *testing.T) {
	f, c := newFakeAWS(t, Config{Log: "/shingle/prd/edge"})
	for range 2 {
		if err := c.Record(t.Context(), time.Now(), []byte("line")); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(f.log, []string{"line", "line"}) || f.stream != "i-me" || f.count("CreateLogStream") != 1 {
		t.Errorf("the log has %v, by %v", f.log, f.calls)
	}
}

// TestCloud_RepliesThatAreLost has instances come and go, each with the reply to one of the
// calls lost. What the SDK does not call again, the next step of the agent does.
func TestCloud_RepliesThatAreLost(t *testing.T) {
	var all sync.WaitGroup
	for _, cfg := range []Config{{Stage: "prd", Log: "log"}, {EndpointGroups: []string{"arn:tcp"}, Log: "log"}} {
		calm, c := newFakeAWS(t, cfg)
		comeAndGo(t, calm, c)
		slices.Sort(calm.calls)
		calls := slices.Compact(calm.calls)
		if len(calls) != 8 {
			t.Errorf("the calls are %v", calls)
		}
		for _, call := range calls {
			f, c := newFakeAWS(t, cfg)
			f.lose = call
			all.Go(func() {
				comeAndGo(t, f, c)
				if f.lose != "" {
					t.Errorf("no reply to %s was lost", call)
				}
			})
		}
	}
	all.Wait()
}

func comeAndGo(t *testing.T, f *fakeAWS, c Cloud) {
	t.Helper()
	lost, entered := f.lose, false
	for _, do := range []func() error{
		func() error { return c.Enter(t.Context()) },
		func() error { return c.Signal(t.Context()) },
		func() error { return c.Record(t.Context(), time.Now(), []byte("line")) },
		func() error { return c.Unfit(t.Context()) },
		func() error {
			entered = entered || f.addresses["eip-2"] == "i-me" || slices.Contains(f.endpoints, "i-me")
			return c.Leave(t.Context())
		},
		func() error { return c.LetGo(t.Context()) },
	} {
		err := do()
		if err != nil && strings.Contains(lost, "Address") { // EC2's, without the SDK
			err = do()
		}
		if err != nil {
			t.Errorf("%s: %v", lost, err)
		}
	}
	if !entered || f.addresses["eip-2"] != "" || len(f.endpoints) > 0 || !f.letGo || len(f.log) == 0 {
		t.Errorf("%s: entered %v, addresses %v, endpoints %v, let go %v, log %v", lost, entered, f.addresses, f.endpoints, f.letGo, f.log)
	}
}
