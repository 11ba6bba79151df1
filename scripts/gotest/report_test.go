package main

import (
	"bytes"
	"strings"
	"testing"
)

func read(t *testing.T, full bool, events ...string) (*report, string) {
	t.Helper()
	var out bytes.Buffer
	rep := newReport(&out)
	if err := rep.read(strings.NewReader(strings.Join(events, "\n"))); err != nil {
		t.Fatal(err)
	}
	rep.summary(full)
	return rep, out.String()
}

func TestReport_PassingPackageIsOneLine(t *testing.T) {
	rep, out := read(t, true,
		`{"Action":"start","Package":"p"}`,
		`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
		`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: chatter\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestA"}`,
		`{"Action":"output","Package":"p","Output":"PASS\n"}`,
		`{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}`,
		`{"Action":"pass","Package":"p"}`)
	if out != "ok  \tp\t0.1s\n" || rep.failed || len(rep.skipped) != 0 {
		t.Errorf("out %q, failed %t, skipped %q", out, rep.failed, rep.skipped)
	}
}

func TestReport_ShowsFailuresOnly(t *testing.T) {
	rep, out := read(t, false,
		`{"Action":"output","Package":"p","Test":"TestGood","Output":"    chatter\n"}`,
		`{"Action":"output","Package":"p","Test":"TestBad","Output":"    a_test.go:9: wrong\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestGood"}`,
		`{"Action":"fail","Package":"p","Test":"TestBad"}`,
		`{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}`,
		`{"Action":"fail","Package":"p"}`)
	if want := "    a_test.go:9: wrong\nFAIL\tp\t0.1s\n"; out != want || !rep.failed {
		t.Errorf("out %q, want %q; failed %t", out, want, rep.failed)
	}
}

func TestReport_ShowsTestThatNeverEnded(t *testing.T) {
	_, out := read(t, false,
		`{"Action":"output","Package":"p","Test":"TestDies","Output":"panic: oh\n"}`,
		`{"Action":"fail","Package":"p"}`)
	if out != "panic: oh\n" {
		t.Errorf("out %q", out)
	}
}

func TestReport_BuildFailure(t *testing.T) {
	rep, out := read(t, false,
		`{"ImportPath":"p","Action":"build-output","Output":"p.go:1:1: syntax error\n"}`,
		`{"ImportPath":"p","Action":"build-fail"}`)
	if !strings.Contains(out, "syntax error") || !rep.failed {
		t.Errorf("out %q, failed %t", out, rep.failed)
	}
}

func TestReport_NamesSkippedTests(t *testing.T) {
	rep, out := read(t, true,
		`{"Action":"output","Package":"p","Test":"TestS","Output":"=== RUN   TestS\n"}`,
		`{"Action":"output","Package":"p","Test":"TestS","Output":"    s_test.go:4: no docker\n"}`,
		`{"Action":"output","Package":"p","Test":"TestS","Output":"--- SKIP: TestS (0.00s)\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestS"}`,
		`{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}`,
		`{"Action":"skip","Package":"q"}`)
	if len(rep.skipped) != 1 || !strings.Contains(out, "p TestS: s_test.go:4: no docker\n") || !strings.Contains(out, "forbids") {
		t.Errorf("out %q, skipped %q", out, rep.skipped)
	}
}

func TestReport_ForgivesWhatTheMachineCannot(t *testing.T) {
	rep, out := read(t, true,
		`{"Action":"output","Package":"p","Test":"TestS","Output":"    s_test.go:4: this machine cannot: boot Debian on plan9\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestS"}`)
	if len(rep.skipped) != 0 || len(rep.unable) != 1 || !strings.Contains(out, "p TestS: s_test.go:4: this machine cannot: boot Debian") || strings.Contains(out, "forbids") {
		t.Errorf("out %q, skipped %q, unable %q", out, rep.skipped, rep.unable)
	}
}

func TestReport_PassesOnWhatIsNoEvent(t *testing.T) {
	if _, out := read(t, false, "go: downloading something"); out != "go: downloading something" {
		t.Errorf("out %q", out)
	}
}
