package files_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shingle-proxy/shingle"
	"github.com/shingle-proxy/shingle/internal/files"
)

// TestMain makes this binary the process that some tests start: one that counts
// up in the folder SHINGLE_TEST_DIR, SHINGLE_TEST_COUNT times, and prints the
// count after each write that returned.
func TestMain(m *testing.M) {
	dir := os.Getenv("SHINGLE_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	rounds, err := strconv.Atoi(os.Getenv("SHINGLE_TEST_COUNT"))
	if err == nil {
		err = countUp(context.Background(), dir, rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// padding makes a value large enough to be seen half written.
var padding = strings.Repeat("0123456789abcdef", 4_000)

func countUp(ctx context.Context, dir string, rounds int) error {
	s, err := files.Open(dir)
	if err != nil {
		return err
	}
	for done := 0; done < rounds; {
		n, version, err := counter(ctx, s)
		if err != nil {
			return errors.Join(err, s.Close())
		}
		_, err = s.Put(ctx, "counter", fmt.Append(nil, n+1, " ", padding), version)
		if errors.Is(err, shingle.ErrConflict) {
			continue
		}
		if err != nil {
			return errors.Join(err, s.Close())
		}
		fmt.Println(n + 1)
		done++
	}
	return s.Close()
}

// counter returns the count, 0 when there is none. It refuses half a value.
func counter(ctx context.Context, s *files.Store) (n int, version string, err error) {
	b, err := s.Get(ctx, "counter")
	if errors.Is(err, shingle.ErrNotFound) {
		return 0, shingle.NoVersion, nil
	}
	if err != nil {
		return 0, "", err
	}
	number, rest, _ := strings.Cut(string(b.Value), " ")
	if rest != padding {
		return 0, "", fmt.Errorf("half a value of %d bytes", len(b.Value))
	}
	n, err = strconv.Atoi(number)
	return n, b.Version, err
}

type writer struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startWriter(t *testing.T, dir string, rounds int) *writer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SHINGLE_TEST_DIR="+dir, fmt.Sprint("SHINGLE_TEST_COUNT=", rounds))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	return &writer{cmd: cmd, lines: bufio.NewScanner(stdout)}
}

// TestStore_KillLosesNoAcknowledgedWrite kills a writer at a random moment,
// again and again in one folder, while this process reads.
func TestStore_KillLosesNoAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	last := 0
	for round := range 4 {
		w := startWriter(t, dir, 100_000)
		count := rand.IntN(40)
		for n := 0; w.lines.Scan(); n++ {
			if n == count {
				time.AfterFunc(rand.N(3*time.Millisecond), func() { _ = w.cmd.Process.Kill() }) // Wait tells
			}
			acknowledged, err := strconv.Atoi(w.lines.Text())
			check(t, err)
			if acknowledged != last+1 && acknowledged != last+2 { // one write may have lost its line
				t.Fatalf("round %d: %d follows %d", round, acknowledged, last)
			}
			last = acknowledged
			if seen, _, err := counter(t.Context(), s); err != nil || seen < last {
				t.Fatalf("round %d: read %d after %d, %v", round, seen, last, err)
			}
		}
		if err := w.cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("round %d: the writer ended by itself: %v", round, err)
		}
		// The dead writer's lock and half a file stand in nobody's way.
		n, version, err := counter(t.Context(), s)
		check(t, err)
		if n != last && n != last+1 {
			t.Errorf("round %d: acknowledged %d, found %d", round, last, n)
		}
		_, err = s.Put(t.Context(), "counter", fmt.Append(nil, n+1, " ", padding), version)
		check(t, err)
		last = n + 1
	}
	keys, err := s.List(t.Context(), "", "", 10)
	check(t, err)
	if leftovers, _ := filepath.Glob(filepath.Join(dir, "temporary-*")); len(keys) != 1 || len(leftovers) > 1 {
		t.Errorf("keys %q, leftovers %q", keys, leftovers)
	}
}

func TestStore_ProcessesLoseNoUpdate(t *testing.T) {
	t.Parallel()
	const writers, rounds = 3, 20
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	var all []*writer
	for range writers {
		all = append(all, startWriter(t, dir, rounds))
	}
	seen := map[string]bool{}
	for _, w := range all {
		for w.lines.Scan() {
			if seen[w.lines.Text()] {
				t.Errorf("two writers made %s", w.lines.Text())
			}
			seen[w.lines.Text()] = true
		}
		check(t, w.cmd.Wait())
	}
	if n, _, err := counter(t.Context(), open(t, dir)); err != nil || n != writers*rounds || len(seen) != n {
		t.Errorf("%d, %v; %d acknowledged", n, err, len(seen))
	}
}
