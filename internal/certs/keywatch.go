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
		if rest := m.keysAt.Sub(m.cfg.Now()); rest > 0 { // this process has looked, in an earlier life
			select {
			case <-time.After(rest):
			case <-ctx.Done():
				return
			}
		}
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
		m.keysAt = m.cfg.Now().Add(wait)
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
