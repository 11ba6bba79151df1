package aws

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
)

// fakeServices are as much of the services beside CloudFormation as a deployment needs.
type fakeServices struct {
	objects    map[string]bool       // bucket/key
	parameters map[string]string     // region/name -> value
	rivals     map[string]string     // region/name -> what another deployment writes just before the next one
	tables     map[string]*fakeTable // by region; us-east-1 is home
	rows       int                   // in them
	zone       string                // ID of a zone example.com that a stage made
	key        string                // ARN of the KMS key under the alias of a stage
	keyState   string                // of it; empty: Enabled
	copies     map[string]string     // region -> state of a replica of it
	keys       []string              // states of keys whose alias was deleted
	tokens     []string              // IDs of those that were made
}

// fakeTable is a table or a replica.
type fakeTable struct {
	protected bool
	status    string // empty: ACTIVE
	left      int    // looks until that ends
}

func newFakeServices() fakeServices {
	return fakeServices{objects: map[string]bool{}, parameters: map[string]string{}, rivals: map[string]string{}, tables: map[string]*fakeTable{}, copies: map[string]string{}}
}

func (f *fakeCloud) serveLambda(w http.ResponseWriter, r *http.Request, region string) {
	f.call = fakeCall{"lambda:InvokeFunction", region, path.Base(path.Dir(r.URL.Path))}
	var in struct{ Shingle, ID, Name, Hash string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Shingle != "token" || in.ID == "" || in.Name == "" || len(in.Hash) != 44 {
		_, _ = fmt.Fprint(w, `{"errorMessage":"bad call"}`)
		return
	}
	if !slices.Contains(f.tokens, in.ID) {
		f.tokens = append(f.tokens, in.ID)
	}
	_, _ = fmt.Fprintf(w, `{"id":%q}`, in.ID)
}

func (f *fakeCloud) serveRoute53(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/2013-04-01/healthcheck/"); ok {
		f.serveHealthCheck(w, strings.TrimSuffix(id, "/status"))
		return
	}
	if strings.Contains(r.URL.Path, "/rrset") || strings.Contains(r.URL.Path, "/change/") {
		f.serveRecords(w, r)
		return
	}
	f.call = fakeCall{"route53:ListHostedZonesByName", "us-east-1", "example.com"}
	_, _ = fmt.Fprint(w, "<ListHostedZonesByNameResponse><HostedZones>")
	for id, comment := range map[string]string{"ZOTHER": "of somebody else", f.zone: "Shingle, stage prd"} {
		if id != "" {
			_, _ = fmt.Fprintf(w, "<HostedZone><Id>/hostedzone/%s</Id><Name>example.com.</Name><Config><Comment>%s</Comment></Config></HostedZone>", id, comment)
		}
	}
	_, _ = fmt.Fprint(w, "</HostedZones></ListHostedZonesByNameResponse>")
}

// serveS3 is as much of S3 as artifacts need.
func (f *fakeCloud) serveS3(w http.ResponseWriter, r *http.Request, region string) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	folder, _, _ := strings.Cut(key, "/")
	f.call = fakeCall{map[string]string{"HEAD": "s3:GetObject", "PUT": "s3:PutObject", "POST": "s3:DeleteObject", "GET": "s3:ListBucket"}[r.Method], region, folder}
	switch r.Method {
	case "HEAD":
		if !f.objects[bucket+"/"+key] {
			w.WriteHeader(404)
		}
	case "PUT":
		f.objects[bucket+"/"+key] = true
	case "POST":
		var q struct{ Object []struct{ Key string } }
		if err := xml.NewDecoder(r.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), 400)
		}
		for _, o := range q.Object {
			delete(f.objects, bucket+"/"+o.Key)
		}
		_, _ = fmt.Fprint(w, "<DeleteResult></DeleteResult>")
	default:
		_, _ = fmt.Fprint(w, "<ListBucketResult>")
		for name := range f.objects {
			if key, ours := strings.CutPrefix(name, bucket+"/"); ours {
				_, _ = fmt.Fprintf(w, "<Contents><Key>%s</Key></Contents>", key)
			}
		}
		_, _ = fmt.Fprint(w, "</ListBucketResult>")
	}
}

// fakeInput is what calls of the JSON protocols have.
type fakeInput struct {
	Name, Value, Type, TableName string
	KeyID                        string `json:"KeyId"`
	EndpointGroupArn             string
	AliasName                    string
	DeletionProtectionEnabled    *bool
	ReplicaUpdates               []struct{ Delete struct{ RegionName string } }
	Overwrite                    bool
	Tags                         []struct{}
}

func (f *fakeCloud) serveJSON(w http.ResponseWriter, r *http.Request, region, service string) {
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	var in fakeInput
	_ = json.NewDecoder(r.Body).Decode(&in)
	f.call = fakeCall{service + ":" + action, region, in.Name + in.TableName + in.KeyID + in.AliasName}
	switch service {
	case "ssm":
		f.serveSSM(w, region, action, &in)
	case "kms":
		f.serveKMS(w, region, action, &in)
	case "globalaccelerator":
		f.serveAccelerator(w, action, in.EndpointGroupArn)
	default:
		f.serveDynamoDB(w, region, action, &in)
	}
}

func (f *fakeCloud) serveSSM(w http.ResponseWriter, region, action string, in *fakeInput) {
	name := region + in.Name
	if rival, first := f.rivals[name]; first && action == "PutParameter" {
		f.parameters[name] = rival
		delete(f.rivals, name)
	}
	value, there := f.parameters[name]
	switch action {
	case "GetParameter":
		if !there {
			jsonFault(w, "ParameterNotFound")
			return
		}
		_, _ = fmt.Fprintf(w, `{"Parameter":{"Value":%q}}`, value)
	case "PutParameter":
		if there && !in.Overwrite || there && len(in.Tags) > 0 || in.Type != "SecureString" && !strings.HasSuffix(name, "/regions") {
			jsonFault(w, "ParameterAlreadyExists")
			return
		}
		f.parameters[name] = in.Value
		_, _ = fmt.Fprint(w, `{"Version":1}`)
	case "DeleteParameter":
		if !there {
			jsonFault(w, "ParameterNotFound")
			return
		}
		delete(f.parameters, name)
		_, _ = fmt.Fprint(w, "{}")
	default:
		jsonFault(w, "UnknownOperationException")
	}
}

// serveKMS has the key at home, by its alias or its ID, and its replicas. They are there
// until their last day.
func (f *fakeCloud) serveKMS(w http.ResponseWriter, region, action string, in *fakeInput) {
	if action == "DeleteAlias" {
		f.deleteAlias(w)
		return
	}
	atHome := region == "us-east-1"
	state, there := f.copies[region], f.copies[region] != ""
	if atHome {
		state, there = cmp.Or(f.keyState, "Enabled"), true
	}
	if !there || f.key == "" || !strings.HasPrefix(in.KeyID, "alias/") && !strings.HasSuffix(f.key, "/"+in.KeyID) {
		jsonFault(w, "NotFoundException")
		return
	}
	next := map[string]string{"CancelKeyDeletion PendingDeletion": "Disabled", "EnableKey Disabled": "Enabled", "ScheduleKeyDeletion Enabled": "PendingDeletion", "ScheduleKeyDeletion Disabled": "PendingDeletion", "DescribeKey " + state: state}[action+" "+state]
	if next == "" {
		jsonFault(w, "KMSInvalidStateException")
		return
	}
	if atHome {
		f.keyState = next
	} else {
		f.copies[region] = next
	}
	date := ""
	if next == "PendingDeletion" {
		date = `,"DeletionDate":1800000000`
	}
	_, _ = fmt.Fprintf(w, `{"KeyMetadata":{"KeyId":%q,"Arn":%q,"KeyState":%q,"Description":"Shingle, stage prd: protects the private keys in the table"%s}}`, f.key[strings.LastIndex(f.key, "/")+1:], f.key, next, date)
}

// deleteAlias leaves the key without a name.
func (f *fakeCloud) deleteAlias(w http.ResponseWriter) {
	if f.key == "" {
		jsonFault(w, "NotFoundException")
		return
	}
	f.keys = append(f.keys, cmp.Or(f.keyState, "Enabled"))
	f.key, f.keyState = "", ""
	_, _ = fmt.Fprint(w, "{}")
}

// serveDynamoDB takes no change of a table that is being changed, and deletes none that
// is protected or has replicas.
func (f *fakeCloud) serveDynamoDB(w http.ResponseWriter, region, action string, in *fakeInput) {
	t := f.tables[region]
	if t == nil {
		jsonFault(w, "ResourceNotFoundException")
		return
	}
	if action != "DescribeTable" && action != "DescribeContinuousBackups" && action != "Scan" && t.status != "" {
		jsonFault(w, "ResourceInUseException")
		return
	}
	switch action {
	case "UpdateTable":
		f.updateTable(w, t, in)
	case "DeleteTable":
		if t.protected || len(f.tables) > 1 {
			jsonFault(w, "ValidationException")
			return
		}
		t.status, t.left = "DELETING", 2
		_, _ = fmt.Fprint(w, "{}")
	case "Scan":
		_, _ = fmt.Fprintf(w, `{"Count":%d}`, min(f.rows, 1))
	case "DescribeTable":
		f.describeTable(w, region, t)
	case "DescribeContinuousBackups":
		f.describeBackups(w, region)
	default:
		jsonFault(w, "UnknownOperationException")
	}
}

func (f *fakeCloud) updateTable(w http.ResponseWriter, t *fakeTable, in *fakeInput) {
	if in.DeletionProtectionEnabled != nil {
		t.protected, t.status, t.left = *in.DeletionProtectionEnabled, "UPDATING", 2
	}
	for _, u := range in.ReplicaUpdates {
		replica := f.tables[u.Delete.RegionName]
		if replica == nil || replica.protected || replica.status != "" {
			jsonFault(w, "ValidationException")
			return
		}
		replica.status, replica.left = "DELETING", 2
		t.status, t.left = "UPDATING", 3
	}
	_, _ = fmt.Fprint(w, "{}")
}

// describeTable lets time pass, like a look at a stack.
func (f *fakeCloud) describeTable(w http.ResponseWriter, region string, t *fakeTable) {
	status := t.status
	if t.left--; t.left <= 0 {
		if status == "DELETING" {
			delete(f.tables, region)
		}
		t.status = ""
	}
	if status == "" {
		status = "ACTIVE"
	}
	replicas := []string{}
	for other := range f.tables {
		if other != "us-east-1" {
			replicas = append(replicas, fmt.Sprintf(`{"RegionName":%q}`, other))
		}
	}
	slices.Sort(replicas)
	_, _ = fmt.Fprintf(w, `{"Table":{"TableStatus":%q,"TableSizeBytes":2000000000,"DeletionProtectionEnabled":%v,"Replicas":[%s]}}`, status, t.protected, strings.Join(replicas, ","))
}

// replicate brings the table's replicas to a template.
func (f *fakeCloud) replicate(t Template) {
	for _, r := range t.Resources {
		replicas, ok := r.Properties["Replicas"].([]any)
		if !ok || r.Type != "AWS::DynamoDB::GlobalTable" {
			continue
		}
		var regions []string
		for _, each := range replicas {
			regions = append(regions, each.(map[string]any)["Region"].(string))
		}
		for _, region := range regions {
			if f.tables[region] == nil {
				f.tables[region] = &fakeTable{protected: true}
			}
		}
		for region := range f.tables {
			if !slices.Contains(regions, region) {
				delete(f.tables, region)
			}
		}
	}
}

func jsonFault(w http.ResponseWriter, code string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(400)
	_, _ = fmt.Fprintf(w, `{"__type":%q,"message":"no"}`, code)
}
