package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// lifeStep is a command in the life of a stage.
type lifeStep struct {
	name string
	do   func(*life) error
}

// life is a stage on the fake, from its first deployment until its data are deleted.
type life struct {
	*world
	t      *testing.T
	ctx    context.Context // of the run
	kind   MasterKey
	step   string
	writes []fakeCall
	cuts   int
}

func newLife(t *testing.T, kind MasterKey) *life {
	l := &life{world: newWorld(t, deployment(FrontRoute53, usEast)), t: t, ctx: t.Context(), kind: kind}
	l.cloud.mu.Lock()
	defer l.cloud.mu.Unlock()
	l.cloud.fate = func(c fakeCall) fate {
		if c.writes() {
			l.writes = append(l.writes, c)
		}
		return answered
	}
	return l
}

// command is what a new run of the program has.
func (l *life) command(instance string, regions ...Region) {
	d := deployment(FrontRoute53, regions...)
	d.MasterKey, d.InstanceType, d.Pages = l.kind, instance, pages()
	a := l.Artifacts
	l.Deployer = &Deployer{Account: l.Account, Deployment: d, Artifacts: a, Poll: l.Poll, Report: l.Report, ClientSecret: "hush"}
}

func (l *life) deployed(instance string, regions ...Region) error {
	l.command(instance, regions...)
	plan, err := l.Plan(l.ctx)
	if err != nil {
		return err
	}
	return l.Deploy(l.ctx, plan)
}

// replicaStep is in front of the names of steps that add something with a KMS key alone, whose
// replicas are called back.
const replicaStep = "with replicas: "

const failingStep = "an update that fails, and its rollback too"

var lifeSteps = []lifeStep{
	{"first deployment", func(l *life) error { return l.deployed("t4g.nano", usEast) }},
	{"token", func(l *life) error { _, err := l.Token(l.ctx); return err }},
	{"nothing changes", func(l *life) error { return l.deployed("t4g.nano", usEast) }},
	{"a region more", func(l *life) error { return l.deployed("t4g.nano", usEast, euWest) }},
	{failingStep, func(l *life) error {
		l.cloud.mu.Lock()
		l.cloud.fail["shingle-prd-edge/Machine"], l.cloud.failBack["shingle-prd-edge"] = "no t4g.micro", "no network"
		l.cloud.mu.Unlock()
		err := l.deployed("t4g.micro", usEast, euWest)
		l.cloud.mu.Lock()
		defer l.cloud.mu.Unlock()
		clear(l.cloud.fail)
		clear(l.cloud.failBack)
		if err == nil || !strings.Contains(err.Error(), "no t4g.micro") && !strings.Contains(err.Error(), "no network") {
			return fmt.Errorf("the update that fails: %w", err)
		}
		return nil
	}},
	{"an update", func(l *life) error { return l.deployed("t4g.micro", usEast, euWest) }},
	{"a region less", func(l *life) error { return l.deployed("t4g.micro", usEast) }},
	{replicaStep + "the region again", func(l *life) error { return l.deployed("t4g.micro", usEast, euWest) }},
	{"removal", func(l *life) error { l.command("t4g.nano", usEast); return l.Remove(l.ctx) }},
	{"second life", func(l *life) error { return l.deployed("t4g.nano", usEast, euWest) }},
	{replicaStep + "the region less again", func(l *life) error { return l.deployed("t4g.nano", usEast) }},
	{replicaStep + "the region once more", func(l *life) error { return l.deployed("t4g.nano", usEast, euWest) }},
	{"removal with the data", func(l *life) error {
		l.command("t4g.nano", usEast)
		if err := l.Remove(l.ctx); err != nil {
			return err
		}
		return l.DeleteData(l.ctx)
	}},
}

// picture is what there is, with secrets and IDs as what they are among each other.
func (l *life) picture() string {
	c := l.cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for _, s := range c.stacks {
		if s.status != "DELETE_COMPLETE" {
			lines = append(lines, fmt.Sprintf("stack %s/%s %s %v", s.region, s.name, s.status, slices.Sorted(maps.Keys(s.template.Resources))))
		}
	}
	for name := range c.objects {
		lines = append(lines, "object "+name)
	}
	alike := map[string]bool{}
	for name, value := range c.parameters {
		if strings.HasSuffix(name, "/master-key") {
			alike[value], value = true, "a master key"
		}
		lines = append(lines, "parameter "+name+" "+value)
	}
	if len(alike) > 1 {
		lines = append(lines, "master keys that are not alike")
	}
	for region, table := range c.tables {
		lines = append(lines, fmt.Sprintf("table %s protected %v %s", region, table.protected, table.status))
	}
	for region, state := range c.copies {
		lines = append(lines, "replica "+region+" "+state)
	}
	lines = append(lines, fmt.Sprintf("zone %v, key %v %s, keys %v", c.zone != "", c.key != "", c.keyState, c.keys))
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// run takes all steps, and returns what there is after each.
func (l *life) run(around func(step lifeStep) error) (pictures []string) {
	l.t.Helper()
	for _, step := range lifeSteps {
		l.step = step.name
		if strings.HasPrefix(step.name, replicaStep) && l.kind != MasterKeyKMS {
			pictures = append(pictures, "")
			continue
		}
		if err := around(step); err != nil {
			l.t.Fatalf("%s: %v", step.name, err)
		}
		picture := l.picture()
		if step.name == failingStep { // how far the others are by then is not known
			picture = ""
		}
		pictures = append(pictures, picture)
	}
	return pictures
}

func (l *life) undisturbed() []string {
	return l.run(func(step lifeStep) error { return step.do(l) })
}

func comparePictures(t *testing.T, got, want []string) {
	t.Helper()
	for i := range want {
		if got[i] != want[i] {
			is, should := strings.Split(got[i], "\n"), strings.Split(want[i], "\n")
			t.Fatalf("after %q there is\n%s\nand not\n%s", lifeSteps[i].name, strings.Join(without(is, should), "\n"), strings.Join(without(should, is), "\n"))
		}
	}
}

// TestLife_RepliesThatAreLost loses the reply to the first call of each operation that
// writes, in each step, so that the SDK calls again: everything is as without the loss.
// Which operations there are is what an undisturbed life has called.
func TestLife_RepliesThatAreLost(t *testing.T) {
	seen, shapes := map[string]bool{}, []string{"failed", "error"} // of no change
	for _, kind := range []MasterKey{MasterKeyParameter, MasterKeyKMS} {
		calm := newLife(t, kind)
		want := calm.undisturbed()
		for i, action := range distinct(calm.writes) {
			if seen[action] {
				continue
			}
			seen[action] = true
			t.Run(string(kind)+"/"+action, func(t *testing.T) {
				t.Parallel()
				l, was := newLife(t, kind), ""
				l.cloud.emptyShape = shapes[i%len(shapes)]
				l.cloud.fate = func(c fakeCall) fate {
					if c.action == action && was != l.step {
						was = l.step
						return lost
					}
					return answered
				}
				comparePictures(t, l.undisturbed(), want)
				if n := len(l.cloud.tokens); n != 1 {
					t.Errorf("there are %d tokens", n)
				}
			})
		}
	}
	if len(seen) < 12 {
		t.Errorf("the operations that write are %v: that cannot be all", seen)
	}
}

// distinct are the operations among calls.
func distinct(calls []fakeCall) (actions []string) {
	for _, c := range calls {
		actions = append(actions, c.action)
	}
	slices.Sort(actions)
	return slices.Compact(actions)
}

// TestLife_IsCutShortAfterEachWrite ends each run of the program after the first write that
// none before it has come to, and runs it again, until a run comes to its end: everything is
// as if it had come there at once. A removal knows what was never deployed to its end.
func TestLife_IsCutShortAfterEachWrite(t *testing.T) {
	for _, kind := range []MasterKey{MasterKeyParameter, MasterKeyKMS} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			want := newLife(t, kind).undisturbed()
			l := newLife(t, kind)
			comparePictures(t, l.run(l.cutShort), want)
			enough := map[MasterKey]int{MasterKeyKMS: 100, MasterKeyParameter: 8}[kind]
			if t.Logf("cut short after %d writes", l.cuts); l.cuts < enough {
				t.Errorf("it was cut short after %d writes: that cannot be all", l.cuts)
			}
		})
	}
}

// cutsAt reports whether a life of that kind is cut short after a call: the one with the KMS
// key after all, but what others come to as well, the other after what it has alone.
func (l *life) cutsAt(c fakeCall) bool {
	if l.kind == MasterKeyKMS && !strings.HasPrefix(l.step, replicaStep) {
		return true
	}
	return strings.HasPrefix(c.action, "ssm:") || strings.HasPrefix(c.action, "kms:")
}

// cutShort takes a step in as many runs as there are writes to end one after.
func (l *life) cutShort(step lifeStep) error {
	seen := map[fakeCall]bool{}
	for {
		ctx, cancel := context.WithCancel(l.t.Context())
		l.cloud.mu.Lock()
		l.ctx, l.cloud.dead = ctx, false
		l.cloud.fate = func(c fakeCall) fate {
			if c.action == "cloudformation:DeleteChangeSet" { // which is the same for all stacks
				c.region, c.target = "", ""
			}
			if !c.writes() || seen[c] || !l.cutsAt(c) {
				return answered
			}
			seen[c] = true
			l.cuts++
			cancel()
			return last
		}
		l.cloud.mu.Unlock()
		err := step.do(l)
		cancel()
		l.cloud.mu.Lock()
		dead := l.cloud.dead
		l.cloud.mu.Unlock()
		if !dead {
			return err
		}
		if err == nil && step.name != failingStep {
			return errors.New("a run that was cut short says that all is well")
		}
	}
}
