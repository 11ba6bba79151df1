// Servers runs a command beside the outside servers that the tests use: AWS's
// own DynamoDB Local, moto (a second opinion on DynamoDB, and KMS, Route 53,
// CloudFormation), ministack (a second opinion on CloudFormation) and versitygw (S3 with real conditional writes). Schemathesis,
// which asks an API whatever its description allows, is installed with them, and so are
// Chromium and axe-core, which look at pages, and for root the file system of a
// Debian, which tests boot, and runc, which runs containers. nfpm makes Debian packages.
//
//	go run ./scripts/servers go test ./internal/dynamo
//
// It installs them by package name, in fixed versions, into a cache folder that
// git ignores, starts them on free ports of the loopback interface, and ends
// them when the command has ended, whatever came of it. The command finds them
// in its environment:
//
//	SHINGLE_TEST_DYNAMODB   URL of DynamoDB Local; any credentials. Each access key and region has tables of its own
//	SHINGLE_TEST_MOTO       URL of moto, for every AWS service; any credentials
//	SHINGLE_TEST_CFNLINT    path of cfn-lint, which comes with moto
//	SHINGLE_TEST_BOTO       path of a Python that has boto3, likewise
//	SHINGLE_TEST_MINISTACK  URL of ministack, for every AWS service; any credentials. An access key of 12 digits is an account of its own
//	SHINGLE_TEST_S3         URL of versitygw; region us-east-1, and
//	SHINGLE_TEST_S3_KEY     its access key
//	SHINGLE_TEST_S3_SECRET  and secret key
//	SHINGLE_TEST_SCHEMATHESIS  the program st
//	SHINGLE_TEST_CHROMIUM   the program chromium, and
//	SHINGLE_TEST_AXE        axe-core's script
//	SHINGLE_TEST_DEBIAN     folder with the file system of a Debian
//	SHINGLE_TEST_NFPM       the program nfpm
//	SHINGLE_TEST_RUNC       the program runc
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

func main() {
	cache := flag.String("cache", ".cache/servers", "folder for what is installed")
	only := flag.String("only", "dynamodb,moto,ministack,s3,schemathesis,chromium,debian,nfpm,runc", "the servers to start")
	flag.Parse()
	code, err := run(*cache, strings.Split(*only, ","), flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run returns the command's exit code.
func run(cache string, only, command []string) (code int, err error) {
	if len(command) == 0 {
		return 2, errors.New("name a command to run, such as go test ./internal/dynamo")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if cache, err = filepath.Abs(cache); err != nil {
		return 1, err
	}
	wanted, err := choose(only)
	if err != nil {
		return 2, err
	}
	if err := installAll(ctx, cache, wanted); err != nil {
		return 1, err
	}
	scratch, err := os.MkdirTemp(cache, "run-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	running, environment, err := startAll(ctx, wanted, cache, scratch)
	defer func() {
		for _, p := range running {
			p.end()
		}
	}()
	if err != nil {
		return 1, err
	}
	return runCommand(ctx, command, environment)
}

func choose(names []string) ([]*server, error) {
	var wanted []*server
	for _, name := range names {
		i := slices.IndexFunc(servers, func(s *server) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-only: there is no server %q", name)
		}
		if servers[i].root && os.Geteuid() != 0 {
			fmt.Fprintf(os.Stderr, "%s is left out: it is for root\n", name)
			continue
		}
		wanted = append(wanted, servers[i])
	}
	return wanted, nil
}

// startAll starts the servers at once. What runs is the caller's to end, after
// an error too.
func startAll(ctx context.Context, wanted []*server, cache, scratch string) (running []*process, environment []string, err error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, s := range wanted {
		all.Go(func() {
			p, env, startErr := s.start(ctx, filepath.Join(cache, s.folder()), filepath.Join(scratch, s.name))
			mu.Lock()
			defer mu.Unlock()
			if startErr != nil {
				err = errors.Join(err, fmt.Errorf("start %s: %w", s.name, startErr))
				return
			}
			if environment = append(environment, env...); p != nil {
				running = append(running, p)
			}
		})
	}
	all.Wait()
	return running, environment, err
}

// runCommand runs the command in our own process group, so that Ctrl-C reaches
// it from the terminal; any other end of ctx is passed on as SIGTERM.
func runCommand(ctx context.Context, command, environment []string) (code int, err error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endWait
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil // -1: a signal ended it
	}
	if err != nil {
		return 1, fmt.Errorf("run %s: %w", command[0], err)
	}
	return 0, nil
}
