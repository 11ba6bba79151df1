package aws

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// fakeCloud is CloudFormation's Query API in all regions, with its states. A
// stack's operation ends after a number of looks at it, so that every state that
// is under way is seen.
type fakeCloud struct {
	mu     sync.Mutex
	stacks []*fakeStack // a deleted one stays, under its ARN
	sets   map[string]*fakeSet
	done   map[string]*fakeSet // executed
	names  map[string]bool     // of all sets that were
	calls  map[string]int      // by the actions of IAM that they need
	serial int

	fail       map[string]string // stack/resource -> the reason why it cannot be made; stack/half/resource: it is there all the same
	failBack   map[string]string // the same, when the stack is rolled back
	throttle   int               // answer that many calls with throttling
	lose       map[string]int    // action of IAM -> end that many connections after it was done
	fate       func(fakeCall) fate
	dead       bool     // whoever calls is no more
	call       fakeCall // the one that is answered
	emptyShape string   // "error" or "failed": how it says that nothing changes
	onExecute  func(stack string)
	pageSize   int

	said []string // what CloudFormation was told
	fakeServices
	faults fakeFaults
	fakeRecords
}

type fakeStack struct {
	region, name, id, status, reason string
	template                         Template
	params                           map[string]string
	making                           *Template // while it is being made
	left                             int       // looks until the next step
	steps                            []func()
	events                           []fakeEvent // the newest first
}

type fakeEvent struct {
	EventId, StackId, StackName, LogicalResourceId, PhysicalResourceId, ResourceType, ResourceStatus, ResourceStatusReason, Timestamp string
}

type fakeSet struct {
	id, name, status, reason string
	stack                    *fakeStack
	kind                     string
	template                 Template
	params                   map[string]string
	imports                  bool // what is there
	looks                    int
	execution                string // its status, once executed
	changes                  []fakeChange
}

type fakeChange struct{ action, id, kind, replacement string }

func newFakeCloud(t *testing.T) (*fakeCloud, *Account) {
	t.Helper()
	f := &fakeCloud{sets: map[string]*fakeSet{}, done: map[string]*fakeSet{}, names: map[string]bool{}, calls: map[string]int{}, lose: map[string]int{}, fail: map[string]string{}, failBack: map[string]string{}, emptyShape: "failed", pageSize: 3, fakeServices: newFakeServices()}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	a, err := OpenAccount(t.Context(), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	a.base.Credentials = credentials.NewStaticCredentialsProvider("test", "test", "")
	a.base.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.Backoff = maxAttempts, retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	}
	return f, a
}

// fakeCall is a call, by the action of IAM that it needs.
type fakeCall struct{ action, region, target string }

func (c fakeCall) String() string { return c.action + " " + c.region + " " + c.target }

func (c fakeCall) writes() bool {
	_, verb, _ := strings.Cut(c.action, ":")
	return !slices.ContainsFunc([]string{"Describe", "Get", "List", "Scan"}, func(p string) bool { return strings.HasPrefix(verb, p) })
}

// fate is what becomes of a call.
type fate int

const (
	answered fate = iota
	lost          // it is done, and the connection ends
	last          // the same, and so do all that come behind it, which are not done
)

// ServeHTTP answers a call, or does what it asks for and loses the reply.
func (f *fakeCloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		panic(http.ErrAbortHandler)
	}
	reply := httptest.NewRecorder()
	f.serve(reply, r)
	f.calls[f.call.action]++
	if f.lose[f.call.action] > 0 {
		f.lose[f.call.action]--
		panic(http.ErrAbortHandler)
	}
	if f.fate != nil {
		if is := f.fate(f.call); is != answered {
			f.dead = is == last
			panic(http.ErrAbortHandler)
		}
	}
	maps.Copy(w.Header(), reply.Header())
	w.WriteHeader(reply.Code)
	_, _ = w.Write(reply.Body.Bytes())
}

// serve answers a call. The service and the region are in what it is signed for.
func (f *fakeCloud) serve(w http.ResponseWriter, r *http.Request) {
	scope := strings.Split(r.Header.Get("Authorization"), "/")
	if len(scope) < 4 {
		http.Error(w, "not signed", http.StatusForbidden)
		return
	}
	region, service := scope[2], scope[3]
	switch service {
	case "lambda":
		f.serveLambda(w, r, region)
	case "route53":
		f.serveRoute53(w, r)
	case "s3":
		f.serveS3(w, r, region)
	case "ssm", "kms", "dynamodb", "globalaccelerator":
		f.serveJSON(w, r, region, service)
	case "monitoring":
		f.serveQuery(w, r, region, "cloudwatch")
	default:
		f.serveQuery(w, r, region, service)
	}
}

func (f *fakeCloud) serveQuery(w http.ResponseWriter, r *http.Request, region, service string) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	f.said = append(f.said, fmt.Sprint(r.Form))
	action := r.Form.Get("Action")
	f.call = fakeCall{service + ":" + action, region, f.stackNamed(r.Form)}
	if f.throttle > 0 {
		f.throttle--
		fault(w, "Throttling", "Rate exceeded")
		return
	}
	if f.faults.denied == action {
		fault(w, "AccessDenied", "User: me is not authorized to perform: "+action)
		return
	}
	if f.serveFaults(w, region, r.Form) {
		return
	}
	switch action {
	case "DescribeStacks":
		f.describeStacks(w, region, r.Form)
	case "DescribeStackEvents":
		f.describeEvents(w, region, r.Form)
	case "CreateChangeSet":
		f.createChangeSet(w, region, r.Form)
	case "DescribeChangeSet":
		f.describeChangeSet(w, r.Form)
	case "DeleteChangeSet":
		delete(f.sets, r.Form.Get("ChangeSetName"))
		answer(w, action, "")
	case "ExecuteChangeSet":
		f.executeChangeSet(w, r.Form)
	case "DeleteStack":
		f.deleteStack(w, region, r.Form)
	case "ContinueUpdateRollback":
		f.continueRollback(w, region, r.Form)
	case "GetTemplate":
		s := f.find(region, r.Form.Get("StackName"))
		if s == nil {
			fault(w, "ValidationError", "Stack with id x does not exist")
			return
		}
		t := s.template
		if s.making != nil {
			t = *s.making
		}
		answer(w, action, "<TemplateBody>"+escape(string(t.JSON()))+"</TemplateBody>")
	case "GetCallerIdentity":
		answer(w, action, "")
	default:
		fault(w, "InvalidAction", action)
	}
}

func fault(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(400)
	_, _ = fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>", code, escape(message))
}

func answer(w http.ResponseWriter, action, result string) {
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", action, result)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

// stackNamed is the name of the stack that a call is about.
func (f *fakeCloud) stackNamed(q url.Values) string {
	if set := cmp.Or(f.sets[q.Get("ChangeSetName")], f.done[q.Get("ChangeSetName")]); set != nil {
		return set.stack.name
	}
	for _, s := range f.stacks {
		if s.id == q.Get("StackName") {
			return s.name
		}
	}
	return q.Get("StackName")
}

// find returns the stack by name, unless it is deleted, or by ARN.
func (f *fakeCloud) find(region, name string) *fakeStack {
	for _, s := range slices.Backward(f.stacks) {
		if s.id == name || s.region == region && s.name == name && s.status != "DELETE_COMPLETE" {
			return s
		}
	}
	return nil
}

func (f *fakeCloud) describeStacks(w http.ResponseWriter, region string, q url.Values) {
	s := f.find(region, q.Get("StackName"))
	if s == nil {
		fault(w, "ValidationError", "Stack with id "+q.Get("StackName")+" does not exist")
		return
	}
	s.look()
	var b strings.Builder
	fmt.Fprintf(&b, "<Stacks><member><StackName>%s</StackName><StackId>%s</StackId><CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>%s</StackStatus><StackStatusReason>%s</StackStatusReason><Outputs>", s.name, s.id, s.status, escape(s.reason))
	for name := range s.template.Outputs {
		value := "the-" + strings.ToLower(name) + "-of-" + s.name + "-" + s.region
		if name == "MasterKeyArn" {
			value = f.key
		}
		fmt.Fprintf(&b, "<member><OutputKey>%s</OutputKey><OutputValue>%s</OutputValue></member>", name, value)
	}
	b.WriteString("</Outputs><Parameters>")
	for name, value := range s.params {
		fmt.Fprintf(&b, "<member><ParameterKey>%s</ParameterKey><ParameterValue>%s</ParameterValue></member>", name, escape(value))
	}
	answer(w, "DescribeStacks", b.String()+"</Parameters></member></Stacks>")
}

func (s *fakeStack) is() string {
	if s == nil {
		return "none"
	}
	return s.status
}

// look lets time pass for a stack that is looked at.
func (s *fakeStack) look() {
	if len(s.steps) == 0 {
		return
	}
	if s.left--; s.left <= 0 {
		step := s.steps[0]
		s.steps = s.steps[1:]
		step()
		s.left = 1
	}
}

func (f *fakeCloud) event(s *fakeStack, resource, kind, status, reason string) {
	f.serial++
	e := fakeEvent{
		EventId: "event-" + strconv.Itoa(f.serial), StackId: s.id, StackName: s.name, LogicalResourceId: resource,
		PhysicalResourceId: "physical-" + resource, ResourceType: kind, ResourceStatus: status, ResourceStatusReason: reason,
		Timestamp: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Format(time.RFC3339), // all in one second
	}
	if resource == "" {
		e.LogicalResourceId, e.PhysicalResourceId, e.ResourceType = s.name, s.id, "AWS::CloudFormation::Stack"
	}
	s.events = slices.Insert(s.events, 0, e)
}

func (f *fakeCloud) describeEvents(w http.ResponseWriter, region string, q url.Values) {
	s := f.find(region, q.Get("StackName"))
	if s == nil {
		fault(w, "ValidationError", "Stack [x] does not exist")
		return
	}
	from, _ := strconv.Atoi(q.Get("NextToken"))
	to := min(len(s.events), from+f.pageSize)
	var b strings.Builder
	b.WriteString("<StackEvents>")
	for _, e := range s.events[from:to] {
		fmt.Fprintf(&b, "<member><EventId>%s</EventId><StackId>%s</StackId><StackName>%s</StackName><LogicalResourceId>%s</LogicalResourceId><PhysicalResourceId>%s</PhysicalResourceId><ResourceType>%s</ResourceType><ResourceStatus>%s</ResourceStatus><ResourceStatusReason>%s</ResourceStatusReason><Timestamp>%s</Timestamp></member>",
			e.EventId, e.StackId, e.StackName, e.LogicalResourceId, e.PhysicalResourceId, e.ResourceType, e.ResourceStatus, escape(e.ResourceStatusReason), e.Timestamp)
	}
	b.WriteString("</StackEvents>")
	if to < len(s.events) {
		fmt.Fprintf(&b, "<NextToken>%d</NextToken>", to)
	}
	answer(w, "DescribeStackEvents", b.String())
}

func (f *fakeCloud) createChangeSet(w http.ResponseWriter, region string, q url.Values) {
	name, kind := q.Get("StackName"), q.Get("ChangeSetType")
	s := f.find(region, name)
	switch {
	case kind == "UPDATE" && s == nil:
		fault(w, "ValidationError", "Stack ["+name+"] does not exist")
		return
	case kind == "CREATE" && s != nil && s.status != "REVIEW_IN_PROGRESS":
		fault(w, "ValidationError", "Stack ["+name+"] already exists and cannot be created again with the changeSet")
		return
	case s != nil && strings.HasSuffix(s.status, "_IN_PROGRESS") && s.status != "REVIEW_IN_PROGRESS":
		fault(w, "ValidationError", "Stack:"+name+" is in "+s.status+" state and can not be updated.")
		return
	}
	if s == nil {
		f.serial++
		s = &fakeStack{region: region, name: name, status: "REVIEW_IN_PROGRESS", id: fmt.Sprintf("arn:aws:cloudformation:%s:1:stack/%s/%d", region, name, f.serial)}
		f.stacks = append(f.stacks, s)
		f.event(s, "", "", "REVIEW_IN_PROGRESS", "")
	}
	if f.names[s.id+q.Get("ChangeSetName")] {
		fault(w, "AlreadyExistsException", "ChangeSet ["+q.Get("ChangeSetName")+"] already exists")
		return
	}
	set := &fakeSet{name: q.Get("ChangeSetName"), stack: s, kind: kind, params: map[string]string{}, looks: 1, imports: q.Get("ImportExistingResources") == "true"}
	if err := json.Unmarshal([]byte(q.Get("TemplateBody")), &set.template); err != nil {
		fault(w, "ValidationError", "Template format error: "+err.Error())
		return
	}
	for i := 1; q.Has(fmt.Sprintf("Parameters.member.%d.ParameterKey", i)); i++ {
		set.params[q.Get(fmt.Sprintf("Parameters.member.%d.ParameterKey", i))] = q.Get(fmt.Sprintf("Parameters.member.%d.ParameterValue", i))
	}
	for name, p := range set.template.Parameters {
		if _, ok := set.params[name]; !ok && p.Default == "" {
			fault(w, "ValidationError", "Parameters: ["+name+"] must have values")
			return
		}
	}
	set.changes = changesOf(s, set)
	for i, c := range set.changes {
		if set.imports && f.tables["us-east-1"] != nil && c.kind == "AWS::DynamoDB::GlobalTable" && c.action == "Add" {
			set.changes[i].action = "Import"
		}
	}
	if len(set.changes) == 0 {
		if f.emptyShape == "error" {
			fault(w, "ValidationError", "No updates are to be performed.")
			return
		}
		set.reason = "The submitted information didn't contain changes. Submit different information to create a change set."
	}
	f.names[s.id+set.name] = true
	f.serial++
	set.id = fmt.Sprintf("arn:aws:cloudformation:%s:1:changeSet/%s/%d", region, set.name, f.serial)
	set.status = "CREATE_IN_PROGRESS"
	f.sets[set.id] = set
	answer(w, "CreateChangeSet", "<Id>"+set.id+"</Id><StackId>"+s.id+"</StackId>")
}

func changesOf(s *fakeStack, set *fakeSet) (list []fakeChange) {
	changed := fmt.Sprint(s.params) != fmt.Sprint(set.params)
	for id, r := range set.template.Resources {
		before, there := s.template.Resources[id]
		a, _ := json.Marshal(before.Properties)
		b, _ := json.Marshal(r.Properties)
		switch {
		case !there:
			list = append(list, fakeChange{"Add", id, r.Type, ""})
		case string(a) != string(b) || changed && strings.Contains(string(b), `"Ref"`):
			replacement := "False"
			if r.Type == "AWS::DynamoDB::GlobalTable" && fmt.Sprint(before.Properties["TableName"]) != fmt.Sprint(r.Properties["TableName"]) {
				replacement = "True"
			}
			list = append(list, fakeChange{"Modify", id, r.Type, replacement})
		}
	}
	for id, r := range s.template.Resources {
		if _, stays := set.template.Resources[id]; !stays {
			list = append(list, fakeChange{"Remove", id, r.Type, ""})
		}
	}
	slices.SortFunc(list, func(a, b fakeChange) int { return strings.Compare(a.id, b.id) })
	return list
}

func (f *fakeCloud) describeChangeSet(w http.ResponseWriter, q url.Values) {
	set := f.sets[q.Get("ChangeSetName")]
	if done := f.done[q.Get("ChangeSetName")]; done != nil {
		set = done
	}
	for _, named := range f.sets {
		if named.name == q.Get("ChangeSetName") && named.stack.name == q.Get("StackName") {
			set = named
		}
	}
	if set == nil {
		fault(w, "ChangeSetNotFound", "ChangeSet does not exist")
		return
	}
	if set.looks--; set.looks < 0 {
		set.status = "CREATE_COMPLETE"
		if set.reason != "" {
			set.status = "FAILED"
		}
	}
	from, _ := strconv.Atoi(q.Get("NextToken"))
	to := min(len(set.changes), from+f.pageSize)
	var b strings.Builder
	fmt.Fprintf(&b, "<ChangeSetName>%s</ChangeSetName><ChangeSetId>%s</ChangeSetId><StackId>%s</StackId><Status>%s</Status><StatusReason>%s</StatusReason><ExecutionStatus>%s</ExecutionStatus><Changes>", set.name, set.id, set.stack.id, set.status, set.reason, set.execution)
	for _, c := range set.changes[from:to] {
		fmt.Fprintf(&b, "<member><Type>Resource</Type><ResourceChange><Action>%s</Action><LogicalResourceId>%s</LogicalResourceId><ResourceType>%s</ResourceType><Replacement>%s</Replacement></ResourceChange></member>", c.action, c.id, c.kind, c.replacement)
	}
	b.WriteString("</Changes>")
	if to < len(set.changes) {
		fmt.Fprintf(&b, "<NextToken>%d</NextToken>", to)
	}
	answer(w, "DescribeChangeSet", b.String())
}

func (f *fakeCloud) executeChangeSet(w http.ResponseWriter, q url.Values) {
	set := f.sets[q.Get("ChangeSetName")]
	if set == nil || set.status != "CREATE_COMPLETE" {
		fault(w, "InvalidChangeSetStatus", "ChangeSet cannot be executed in its current status")
		return
	}
	if f.onExecute != nil {
		f.onExecute(set.stack.name)
	}
	delete(f.sets, set.id)
	f.done[set.id], set.execution = set, "EXECUTE_IN_PROGRESS"
	s := set.stack
	s.steps, s.left = nil, 2
	verb := "UPDATE"
	if set.kind == "CREATE" {
		verb = "CREATE"
		s.making = &set.template
	}
	s.status = verb + "_IN_PROGRESS"
	f.event(s, "", "", s.status, "User Initiated")
	s.steps = append(s.steps, func() { f.finish(s, set, verb) })
	answer(w, "ExecuteChangeSet", "")
}

// finish ends an operation, well or with a rollback.
func (f *fakeCloud) finish(s *fakeStack, set *fakeSet, verb string) {
	failed := ""
	s.making = nil
	var made []string
	for _, c := range set.changes {
		reason, bad := f.fail[s.name+"/"+c.id]
		if half, ok := f.fail[s.name+"/half/"+c.id]; ok {
			reason, bad = half, true
			made = append(made, c.id)
			_ = f.make(s.region, c)
		} else if !bad && failed == "" && (c.action == "Add" || c.action == "Import") {
			if reason = f.make(s.region, c); reason == "" && c.action == "Add" {
				made = append(made, c.id)
			}
			bad = reason != ""
		}
		if bad && failed == "" {
			failed = c.id
			f.event(s, c.id, c.kind, verb+"_FAILED", reason)
			continue
		}
		if failed != "" {
			f.event(s, c.id, c.kind, verb+"_FAILED", "Resource creation cancelled")
			continue
		}
		f.event(s, c.id, c.kind, verb+"_COMPLETE", "")
	}
	if failed == "" {
		s.template, s.params, s.status = set.template, set.params, verb+"_COMPLETE"
		f.replicate(s.template)
		f.event(s, "", "", s.status, "")
		return
	}
	back := map[string]string{"CREATE": "ROLLBACK", "UPDATE": "UPDATE_ROLLBACK"}[verb]
	s.status, s.reason = back+"_IN_PROGRESS", "The following resource(s) failed: ["+failed+"]."
	f.event(s, "", "", s.status, s.reason)
	s.steps = append(s.steps, func() {
		s.status = back + "_COMPLETE"
		if !f.unmake(s, set.template, made) {
			s.status = back + "_FAILED"
		}
		if reason, bad := f.failBack[s.name]; bad {
			s.status = back + "_FAILED"
			f.event(s, failed, "AWS::Test::Resource", "UPDATE_FAILED", reason)
		}
		f.event(s, "", "", s.status, "")
	})
}

// make makes what outlives its stack, or says why it cannot.
func (f *fakeCloud) make(region string, c fakeChange) (reason string) {
	switch c.kind {
	case "AWS::DynamoDB::GlobalTable":
		if f.tables[region] != nil && c.action != "Import" {
			return "Table already exists"
		}
		if f.tables[region] == nil {
			f.tables[region] = &fakeTable{protected: true}
		}
	case "AWS::KMS::Alias":
		if f.key != "" {
			return "An alias with that name already exists"
		}
		f.serial++
		f.key = fmt.Sprintf("arn:aws:kms:%s:123456789012:key/mrk-%d", region, f.serial)
	case "AWS::KMS::ReplicaKey":
		if f.copies[region] != "" {
			return "Key already exists in region " + region
		}
		f.copies[region] = "Enabled"
	case "AWS::Route53::HostedZone":
		f.serial++
		f.zone = "ZMADE" + strconv.Itoa(f.serial)
	}
	return ""
}

// unmake rolls back a creation, and reports whether all is gone that should be: a
// table is protected.
func (f *fakeCloud) unmake(s *fakeStack, t Template, made []string) bool {
	good := true
	for _, id := range slices.Backward(made) {
		r := t.Resources[id]
		switch {
		case r.DeletionPolicy == "Retain":
			f.event(s, id, r.Type, "DELETE_SKIPPED", "")
		case r.Type == "AWS::DynamoDB::GlobalTable":
			good = false
			f.event(s, id, r.Type, "DELETE_FAILED", "Resource cannot be deleted as it is currently protected against deletion")
		default:
			f.forget(s.region, r.Type)
			f.event(s, id, r.Type, "DELETE_COMPLETE", "")
		}
	}
	return good
}

func (f *fakeCloud) forget(region, kind string) {
	switch kind {
	case "AWS::KMS::Alias":
		f.key, f.keyState = "", ""
	case "AWS::KMS::ReplicaKey":
		f.copies[region] = "PendingDeletion"
	case "AWS::Route53::HostedZone":
		f.zone = ""
	}
}

func (f *fakeCloud) deleteStack(w http.ResponseWriter, region string, q url.Values) {
	s := f.find(region, q.Get("StackName"))
	if s != nil && strings.HasPrefix(s.status, "UPDATE_") && strings.HasSuffix(s.status, "_IN_PROGRESS") {
		fault(w, "ValidationError", "Stack ["+s.name+"] cannot be deleted while in status "+s.status)
		return
	}
	if s != nil && s.status != "DELETE_COMPLETE" {
		s.status, s.left = "DELETE_IN_PROGRESS", 2
		f.event(s, "", "", s.status, "")
		s.steps = []func(){func() {
			s.status = "DELETE_COMPLETE"
			for id, r := range s.template.Resources {
				if !strings.HasPrefix(r.DeletionPolicy, "Retain") {
					f.forget(s.region, r.Type)
				}
				if reason, bad := f.fail[s.name+"/delete/"+id]; bad {
					s.status = "DELETE_FAILED"
					f.event(s, id, r.Type, "DELETE_FAILED", reason)
				}
			}
			f.event(s, "", "", s.status, "")
		}}
	}
	answer(w, "DeleteStack", "")
}

func (f *fakeCloud) continueRollback(w http.ResponseWriter, region string, q url.Values) {
	s := f.find(region, q.Get("StackName"))
	if s == nil || s.status != "UPDATE_ROLLBACK_FAILED" {
		fault(w, "ValidationError", "Stack is not in UPDATE_ROLLBACK_FAILED")
		return
	}
	s.status, s.left = "UPDATE_ROLLBACK_IN_PROGRESS", 2
	s.steps = []func(){func() {
		s.status = "UPDATE_ROLLBACK_COMPLETE"
		if reason, bad := f.failBack[s.name]; bad {
			s.status = "UPDATE_ROLLBACK_FAILED"
			f.event(s, "Machine", "AWS::Test::Resource", "UPDATE_FAILED", reason)
		}
		f.event(s, "", "", s.status, "")
	}}
	answer(w, "ContinueUpdateRollback", "")
}
