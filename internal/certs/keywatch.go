package certs

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// How often a process looks whether it can use every master key that is needed:
// seldom, as keys are removed seldom, and more often while it cannot.
const (
	keyWatchEvery = 6 * time.Hour
	keyWatchAgain = time.Minute
)

// watchKeys has it said in the log, and by [Manager.Degraded], when a master key is
// needed that this process cannot use, until ctx ends: it would not be noticed before
// the visitors of what is under that key come.
func (m *Manager) watchKeys(ctx context.Context) {
	for {
		wait := keyWatchEvery
		trouble, err := m.lookAtKeys(ctx)
		switch before := m.keyTrouble.Load(); {
		case err != nil:
			m.log.Debug("the master keys were not looked at", "error", err)
			trouble = *before
		case trouble != *before && trouble != "":
			m.log.Error("a master key that is needed cannot be used", "trouble", trouble)
		case trouble != *before:
			m.log.Info("every master key that is needed can be used")
		}
		m.keyTrouble.Store(&trouble)
		if err != nil || trouble != "" {
			wait = keyWatchAgain
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// lookAtKeys returns what is wrong with the master keys, or "".
func (m *Manager) lookAtKeys(ctx context.Context) (trouble string, err error) {
	uses, err := m.MasterKeys(ctx)
	if err != nil {
		return "", err
	}
	var list []string
	for _, use := range uses {
		if use.Problem != "" {
			list = append(list, fmt.Sprintf("%s (%d data keys are under it, and what they seal is not served)", use.Problem, use.DataKeys))
		}
	}
	return strings.Join(list, "; "), nil
}
