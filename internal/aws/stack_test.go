package aws

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// variants are the deployments whose templates differ.
func variants() map[string]*Deployment {
	all := map[string]*Deployment{}
	for _, front := range []Front{FrontRoute53, FrontAccelerator} {
		for _, key := range []MasterKey{MasterKeyParameter, MasterKeyKMS} {
			for _, zone := range []string{"", "Z0123456789"} {
				d := deployment(front, usEast, euWest, Region{"sa-east-1", 1})
				d.MasterKey, d.ZoneID, d.SSHFrom = key, zone, "192.0.2.0/24"
				all[fmt.Sprintf("%s-%s-zone%s", front, key, zone)] = d
			}
		}
	}
	elsewhere := deployment(FrontAccelerator, usEast)
	elsewhere.Zone = ""
	all["accelerator-zone-elsewhere"] = elsewhere
	for _, key := range []MasterKey{MasterKeyParameter, MasterKeyKMS} {
		d := deployment(FrontRoute53, usEast)
		d.MasterKey, d.Pages = key, pages()
		all["pages-"+string(key)] = d
	}
	public := deployment(FrontRoute53, usEast)
	public.Pages = pages()
	public.Pages.SignIn.Public = true
	all["pages-public"] = public
	set := deployment(FrontRoute53, usEast)
	set.Settings = settings()
	all["settings"] = set
	return all
}

// TestStacks_FitTogether has every parameter answered, by an output that is there
// or by the deployer, and every reference lead to something.
func TestStacks_FitTogether(t *testing.T) {
	for name, d := range variants() {
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
		stacks, seen := d.Stacks(), map[string]*Stack{}
		for i := range stacks {
			s := &stacks[i]
			for parameter, from := range s.Inputs {
				if seen[from.Stack] == nil {
					t.Errorf("%s: %s needs %s, which comes later or never", name, s.ID(), from.Stack)
				} else if _, ok := seen[from.Stack].Template.Outputs[from.Output]; !ok {
					t.Errorf("%s: parameter %s of %s: %s has no output %s", name, parameter, s.ID(), from.Stack, from.Output)
				}
			}
			for parameter, p := range s.Template.Parameters {
				if _, ok := s.Inputs[parameter]; !ok && p.Default == "" && parameter != "Code" && parameter != "BinarySHA256" {
					t.Errorf("%s: nobody answers parameter %s of %s", name, parameter, s.ID())
				}
			}
			for _, reference := range references(s.Template.JSON()) {
				_, parameter := s.Template.Parameters[reference]
				_, resource := s.Template.Resources[reference]
				if !parameter && !resource && !strings.HasPrefix(reference, "AWS::") && reference != "Name" {
					t.Errorf("%s: %s refers to %s, which is not there", name, s.ID(), reference)
				}
			}
			seen[s.ID()] = s
		}
	}
}

var inText = regexp.MustCompile(`\$\{([A-Za-z0-9:]+)`)

// references returns what a template refers to.
func references(template []byte) (names []string) {
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if name, ok := v["Ref"].(string); ok {
				names = append(names, name)
			}
			if path, ok := v["Fn::GetAtt"].([]any); ok {
				names = append(names, path[0].(string))
			}
			for _, each := range v {
				walk(each)
			}
		case []any:
			for _, each := range v {
				walk(each)
			}
		case string:
			for _, m := range inText.FindAllStringSubmatch(v, -1) {
				names = append(names, m[1])
			}
		}
	}
	var v any
	if json.Unmarshal(template, &v) != nil {
		return []string{"no JSON"}
	}
	walk(v)
	return names
}

// TestStacks_KeepWhatLinterMisses are rules of AWS that cfn-lint does not know.
func TestStacks_KeepWhatLinterMisses(t *testing.T) {
	for name, d := range variants() {
		for _, s := range d.Stacks() {
			if size := len(s.Template.JSON()); size > 51_200 {
				t.Errorf("%s: the template of %s has %d bytes; 51200 may be in a call", name, s.ID(), size)
			}
			for id, r := range s.Template.Resources {
				if keeps(r.Type) && (r.DeletionPolicy != "RetainExceptOnCreate" || r.UpdateReplacePolicy != "Retain") {
					t.Errorf("%s: %s of %s would be deleted with its stack", name, id, s.ID())
				}
				checkResource(t, name+" "+s.ID()+" "+id, d, r)
			}
		}
	}
}

func checkResource(t *testing.T, where string, d *Deployment, r Resource) {
	t.Helper()
	p := r.Properties
	switch r.Type {
	case "AWS::DynamoDB::GlobalTable":
		replicas := p["Replicas"].([]props)
		home := slices.ContainsFunc(replicas, func(r props) bool { return r["Region"] == d.Home() })
		if !home || len(replicas) != len(d.Regions) || p["StreamSpecification"] == nil || p["BillingMode"] != "PAY_PER_REQUEST" {
			t.Errorf("%s: a replica at home, a stream and on-demand billing: %v", where, p)
		}
	case "AWS::GlobalAccelerator::EndpointGroup":
		if i := p["HealthCheckIntervalSeconds"]; i != 10 && i != 30 {
			t.Errorf("%s: AWS takes an interval of 10 or 30 s, not %v", where, i)
		}
	case "AWS::EC2::LaunchTemplate":
		data := p["LaunchTemplateData"].(props)
		script := data["UserData"].(props)["Fn::Base64"].(props)["Fn::Sub"].(string)
		if len(script) > 12<<10 {
			t.Errorf("%s: user data of %d bytes; 16 KB may be, in base64", where, len(script))
		}
		if !arm64(data["InstanceType"].(string)) {
			t.Errorf("%s: the image is for arm64, %v is not", where, data["InstanceType"])
		}
	case "AWS::KMS::Key", "AWS::KMS::ReplicaKey":
		for _, fault := range openTo(p["KeyPolicy"].(props), d.Stage) {
			t.Errorf("%s: %s", where, fault)
		}
	case "AWS::IAM::Role":
		if fmt.Sprint(p["Tags"]) != fmt.Sprint(d.tags()) {
			t.Errorf("%s: without the stage's tag the key's policy does not let it use the key", where)
		}
	case "AWS::Scheduler::Schedule":
		if !regexp.MustCompile(`^rate\((1 (minute|hour|day)|[0-9]+ (minutes|hours|days))\)$`).MatchString(p["ScheduleExpression"].(string)) {
			t.Errorf("%s: no schedule: %v", where, p["ScheduleExpression"])
		}
	}
}

// openTo returns what of a key's policy lets others use the key than roles of the stage.
func openTo(policy props, stage string) (faults []string) {
	for _, s := range policy["Statement"].([]props) {
		actions := fmt.Sprint(s["Action"])
		uses := regexp.MustCompile(`kms:(\*|[A-Za-z]*crypt|GenerateDataKey|ReEncrypt|Create(\*|Grant)|Sign)`).MatchString(actions)
		bound := strings.Contains(fmt.Sprint(s["Condition"]), "aws:PrincipalTag/shingle:stage:"+stage)
		if uses && !bound {
			faults = append(faults, fmt.Sprintf("anybody in the account whom IAM lets may %s", actions))
		}
	}
	return faults
}

func TestOpenTo_FindsPlantedFaults(t *testing.T) {
	account := props{"AWS": "arn:aws:iam::1:root"}
	for _, bad := range []props{
		{"Effect": "Allow", "Principal": account, "Action": "kms:*", "Resource": "*"},
		{"Effect": "Allow", "Principal": account, "Action": []string{"kms:Describe*", "kms:Create*"}, "Resource": "*"},
		{"Effect": "Allow", "Principal": account, "Action": []string{"kms:Decrypt"}, "Condition": props{"StringEquals": props{"aws:PrincipalTag/shingle:stage": "dev"}}},
	} {
		if len(openTo(policy(bad), "prd")) == 0 {
			t.Errorf("not found: %v", bad)
		}
	}
}

// TestStacks_Lint has AWS's own linter read every template, and a fault in it that
// it must find.
func TestStacks_Lint(t *testing.T) {
	linter := os.Getenv("SHINGLE_TEST_CFNLINT")
	if linter == "" {
		t.Skip("SHINGLE_TEST_CFNLINT is not set: run `make test`, or `go run ./scripts/servers -only moto go test ./internal/aws`")
	}
	dir := t.TempDir()
	regions, seen := map[string][]string{}, map[string]bool{}
	for name, d := range variants() {
		for _, s := range d.Stacks() {
			template := s.Template.JSON()
			if seen[s.Region+string(template)] {
				continue // that of another variant
			}
			seen[s.Region+string(template)] = true
			path := filepath.Join(dir, name+"-"+s.Region+"-"+s.Name+".json")
			if err := os.WriteFile(path, template, 0o600); err != nil {
				t.Fatal(err)
			}
			regions[s.Region] = append(regions[s.Region], path)
		}
	}
	for region, paths := range regions {
		if out, err := exec.Command(linter, append([]string{"-r", region, "-t"}, paths...)...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", region, err, out)
		}
	}
	d := deployment(FrontRoute53, usEast, euWest)
	d.MasterKey = MasterKeyKMS
	for i, plant := range []func(s *Stack) bool{
		func(s *Stack) bool { return set(s, "Control", "Runtime", "provided.al9") },
		func(s *Stack) bool { return set(s, "Firewall", "VpcId", ref("Nowhere")) },
		func(s *Stack) bool { return set(s, "Edges", "MinSze", "1") },
		func(s *Stack) bool { return set(s, "Table", "KeySchema", "pk") },
		func(s *Stack) bool { return set(s, "Replica", "PendingWindowInDays", 3) },
		func(s *Stack) bool { return set(s, "Replica", "EnableKeyRotation", true) }, // it is the primary key's affair
		func(s *Stack) bool { return set(s, "MasterKey", "KeyPolicy", attr("MasterKeyPolicy", "Arn")) },
		func(s *Stack) bool {
			r := s.Template.Resources["Table"]
			r.DeletionPolicy = "RetainExceptOnUpdate"
			s.Template.Resources["Table"] = r
			return s.Kind == kindData
		},
	} {
		for _, s := range d.Stacks() {
			if !plant(&s) {
				continue
			}
			path := filepath.Join(dir, fmt.Sprintf("planted-%d.json", i))
			if err := os.WriteFile(path, s.Template.JSON(), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := exec.Command(linter, "-r", s.Region, "-t", path).Run(); err == nil {
				t.Errorf("the linter does not find fault %d", i)
			}
		}
	}
}

func set(s *Stack, id, property string, v any) bool {
	r, ok := s.Template.Resources[id]
	if ok {
		r.Properties[property] = v
	}
	return ok
}
