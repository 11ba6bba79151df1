package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/shingle-proxy/shingle/internal/storetest"
)

// killer stands between the program and AWS, and kills it after calls that write.
type killer struct {
	vars []string // the environment of the script
	dir  string
	lose storetest.Wound

	mu     sync.Mutex
	seen   map[string]bool // the calls that a run was killed after
	victim *os.Process
}

// setUpKiller is setUpStage with a killer, and with what ministack.txtar says that there is.
func setUpKiller(t *testing.T, e *testscript.Env, endpoint string) error {
	p := storetest.NewProxy(t, endpoint)
	if err := setUpStage(t, e, p.URL); err != nil {
		return err
	}
	calm, err := txtar.ParseFile(filepath.Join("testdata", "aws", "ministack.txtar"))
	if err != nil {
		return err
	}
	for _, f := range calm.Files {
		if err := os.WriteFile(filepath.Join(e.WorkDir, f.Name), f.Data, 0o600); err != nil {
			return err
		}
	}
	k := &killer{vars: e.Vars, dir: e.WorkDir, lose: storetest.LoseAnswer()}
	p.Inject(k.wound)
	e.Values[killerKey{}] = k
	return nil
}

type killerKey struct{}

func (k *killer) wound(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, []byte, error)) {
	call, writes := awsCall(r)
	k.mu.Lock()
	victim := k.victim
	kills := writes && victim != nil && !k.seen[call]
	if kills {
		k.seen[call], k.victim = true, nil
	}
	k.mu.Unlock()
	if !kills {
		storetest.Delay(0)(w, r, forward)
		return
	}
	k.lose(w, r, func() (*http.Response, []byte, error) {
		resp, body, err := forward()
		_ = victim.Kill()
		return resp, body, err
	})
}

// killed is `killed COMMAND...`: it runs the program until it comes to its end, which may be
// a failure. Each run before is killed after the first call that writes, of those that
// none was killed after. The stage's name is typed when the program asks.
func killed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: killed COMMAND...")
	}
	k := ts.Value(killerKey{}).(*killer)
	k.seen = map[string]bool{}
	for {
		out, alive := k.run(ts, args)
		ts.Logf("%s", out)
		if alive {
			break
		}
	}
	if len(k.seen) == 0 {
		ts.Fatalf("no run was killed")
	}
	ts.Logf("killed after %v", k.seen)
}

func (k *killer) run(ts *testscript.TestScript, args []string) (out string, alive bool) {
	var path string
	for _, v := range k.vars {
		if list, ok := strings.CutPrefix(v, "PATH="); ok {
			path = filepath.SplitList(list)[0]
		}
	}
	var text strings.Builder
	cmd := exec.Command(filepath.Join(path, "shingle"), args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = k.vars, k.dir, &text, &text
	cmd.Stdin = strings.NewReader(ts.Getenv("STAGE") + "\n")
	ts.Check(cmd.Start())
	k.mu.Lock()
	k.victim = cmd.Process
	k.mu.Unlock()
	_ = cmd.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	alive = k.victim != nil
	k.victim = nil
	return text.String(), alive
}
