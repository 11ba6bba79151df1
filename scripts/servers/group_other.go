//go:build !unix

package main

import (
	"context"
	"os/exec"
	"syscall"
)

func ownGroup(*exec.Cmd) {}

func signalGroup(cmd *exec.Cmd, _ syscall.Signal) { _ = cmd.Process.Kill() }

func lock(context.Context, string) (unlock func(), err error) { return func() {}, nil }
