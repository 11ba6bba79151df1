// Gotest runs `go test -json` with its arguments and prints what `go test`
// prints without -v: a line a package, and the output of what failed. At the
// end it names every test that was skipped, with the reason; with SHINGLE_FULL=1
// a skipped test is a failure, unless the machine is to blame: such tests are added
// to the file in SHINGLE_UNCHECKED.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	failed, err := run(os.Args[1:], os.Stdout, os.Getenv("SHINGLE_FULL") == "1")
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

func run(args []string, out io.Writer, full bool) (failed bool, err error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("open pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("start go: %w", err)
	}
	rep := newReport(out)
	readErr := rep.read(events)
	waitErr := cmd.Wait()
	rep.summary(full)
	noteErr := note(os.Getenv("SHINGLE_UNCHECKED"), rep.unable)
	if err := errors.Join(readErr, rep.err, noteErr); err != nil {
		return false, fmt.Errorf("copy output: %w", err)
	}
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) {
		return false, fmt.Errorf("wait for go: %w", waitErr)
	}
	return waitErr != nil || rep.failed || full && len(rep.skipped) > 0, nil
}

// note adds the lines to a file, if one is named.
func note(path string, lines []string) error {
	if path == "" || len(lines) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for _, line := range lines {
		_, writeErr := fmt.Fprintln(f, " ", line)
		err = errors.Join(err, writeErr)
	}
	return errors.Join(err, f.Close())
}
