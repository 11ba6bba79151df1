package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the times in /proc/PID/stat: 1/USER_HZ, which Linux fixes
// at 100 for programs.
const tick = 10 * time.Millisecond

// pinSelf confines this process, with all its threads, to one CPU.
func pinSelf(ctx context.Context, cpu int) error {
	runtime.GOMAXPROCS(1)
	pid := strconv.Itoa(os.Getpid())
	out, err := exec.CommandContext(ctx, "taskset", "-a", "-p", "-c", strconv.Itoa(cpu), pid).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pin to CPU %d: %w: %s", cpu, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// pinned is the command line that runs a program on one CPU, with the process
// ID that the caller sees.
func pinned(cpu int, program string, args ...string) []string {
	return append([]string{"taskset", "-c", strconv.Itoa(cpu), program}, args...)
}

// cpuTime returns the time that the process and its living descendants have
// spent on a CPU, in the program and in the kernel, over all threads.
func cpuTime(pid int) (time.Duration, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	total, err := parseStat(string(stat))
	if err != nil {
		return 0, fmt.Errorf("read CPU time of %d: %w", pid, err)
	}
	children, err := childrenOf(dir)
	if err != nil {
		return 0, err
	}
	for _, child := range children {
		t, err := cpuTime(child)
		if err != nil {
			return 0, err
		}
		total += t
	}
	return total, nil
}

// parseStat adds up utime and stime, the fields 14 and 15 of proc_pid_stat(5).
// The second field is a name in parentheses that may hold anything.
func parseStat(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, errors.New("the line is too short")
	}
	user, err := strconv.ParseInt(fields[utime], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse utime: %w", err)
	}
	system, err := strconv.ParseInt(fields[stime], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse stime: %w", err)
	}
	return time.Duration(user+system) * tick, nil
}

func childrenOf(dir string) ([]int, error) {
	lists, err := filepath.Glob(dir + "/task/*/children")
	if err != nil {
		return nil, fmt.Errorf("find children: %w", err)
	}
	var children []int
	for _, name := range lists {
		list, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a thread that has just ended
		}
		if err != nil {
			return nil, fmt.Errorf("read children: %w", err)
		}
		for field := range strings.FieldsSeq(string(list)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("parse children: %w", err)
			}
			children = append(children, child)
		}
	}
	return children, nil
}
