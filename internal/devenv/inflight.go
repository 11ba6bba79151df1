package devenv

import "sync"

// inflight counts what a server is in the middle of, so that Close can wait for
// all of it. The zero value is ready.
type inflight struct {
	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup
}

// enter counts the caller in, unless it is too late. The caller calls leave.
func (f *inflight) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.group.Add(1)
	}
	return !f.closed
}

func (f *inflight) leave() { f.group.Done() }

// spawn runs what may outlive its caller, who has entered and not left.
func (f *inflight) spawn(work func()) { f.group.Go(work) }

// refuse lets nobody in any more.
func (f *inflight) refuse() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// wait needs refuse before it.
func (f *inflight) wait() { f.group.Wait() }
