package check

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// farAway and a quarantine is further than any check is put off for, and recallEvery how
// often the keeper looks for checks that are.
const (
	farAway     = 60 * 24 * time.Hour
	recallEvery = 24 * time.Hour
)

// recall makes the checks due that a process with a clock of years ahead has put off: else
// nobody would look at those domains before that time comes.
func (k *Keeper) recall(ctx context.Context) error {
	far := k.cfg.Now().Add(farAway + k.cfg.Lifecycle.Quarantine)
	for after := duePrefix + far.UTC().Format(dueTime); ; {
		keys, err := k.records.List(ctx, duePrefix, after, keeperPage)
		if err != nil {
			return fmt.Errorf("list checks far away: %w", err)
		}
		for _, key := range keys {
			after = key
			part := strings.Split(strings.TrimPrefix(key, duePrefix), "/")
			if len(part) != 3 {
				continue
			}
			if err := readableAlone(k.CheckSoon(ctx, part[1])); err != nil {
				return err
			}
		}
		if len(keys) < keeperPage {
			return nil
		}
	}
}
