package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/shingle-proxy/shingle"
)

// errFault is what the injected faults of the suites return.
var errFault = errors.New("injected fault")

// Clients of a history. Each key is checked by itself, so their number bounds
// what the checker has to try.
const (
	linearClients = 6
	linearRounds  = 25
	linearTimeout = time.Minute // of the checker
)

var linearKeys = []string{"linear/a", "linear/b", "leases/linear"}

// TestBlobsLinearizable has several clients at work on the same records, and
// looks for an order of their operations that explains what each of them saw; also
// while some calls are refused and the replies of others are lost. open is that of
// [TestBlobs]. It is apart because a server may keep all sentences but this one.
func TestBlobsLinearizable(t *testing.T, open func(t *testing.T) shingle.Blobs) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, shingle.Blobs)
	}{
		{"Linearizable", CheckLinearizable},
		{"LinearizableWithFaults", func(t *testing.T, s shingle.Blobs) { CheckLinearizable(t, withFaults(s)) }},
		{"LeaseHasOneHolder", testLease},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func withFaults(s shingle.Blobs) shingle.Blobs {
	faulty := &FaultyBlobs{Blobs: s}
	faulty.Inject(Sometimes(0.1, LoseReply(errFault), Refuse(errFault)))
	return faulty
}

// Sometimes stands one of the faults in front of a share of the calls.
func Sometimes(share float64, faults ...Fault) Fault {
	return func(ctx context.Context, op, key string, call func() error) error {
		if rand.Float64() >= share {
			return call()
		}
		return faults[rand.IntN(len(faults))](ctx, op, key, call)
	}
}

// CheckLinearizable has clients read and write the same few records at once, and
// fails unless each record behaved like one that is changed at one moment within
// each call. A call with an undocumented error may have had its effect, at any
// time after it began.
func CheckLinearizable(t *testing.T, s shingle.Blobs) {
	t.Helper()
	h := &history{t: t, store: s, start: time.Now()}
	if result := h.run(); result != porcupine.Ok {
		t.Errorf("the history of %d operations, %d of which with an open end, is not linearizable: %s", len(h.operations), h.open, result)
		h.explain()
	}
}

// CheckCreatedOnce fails if a record that somebody deletes, before its creator
// could learn that it had been created, comes back by another attempt of the
// creator. far reaches the store through the proxy, near does not; match tells the
// request that creates.
func CheckCreatedOnce(t *testing.T, far, near shingle.Blobs, p *Proxy, match func(*http.Request) bool) {
	t.Helper()
	ctx := t.Context()
	const key = "created/once"
	p.Inject(Once(match, LoseAnswerAfter(func() {
		b, err := near.Get(ctx, key)
		if err == nil {
			err = near.Delete(ctx, key, b.Version)
		}
		if err != nil {
			t.Errorf("the record was not there to be deleted: %v", err)
		}
	})))
	if version, err := far.Put(ctx, key, []byte("v"), shingle.NoVersion); !errors.Is(err, shingle.ErrUnavailable) {
		t.Errorf("created with version %q, %v; nobody can know", version, err)
	}
	if _, err := near.Get(ctx, key); !errors.Is(err, shingle.ErrNotFound) {
		t.Errorf("a deleted record came back: %v", err)
	}
}

// history is what the clients did.
type history struct {
	t     *testing.T
	store shingle.Blobs
	start time.Time

	mu         sync.Mutex
	operations []porcupine.Operation
	open       int
}

// run has the clients work, and returns what the checker makes of it.
func (h *history) run() porcupine.CheckResult {
	var all sync.WaitGroup
	for id := range linearClients {
		all.Go(func() { h.client(id) })
	}
	all.Wait()
	return porcupine.CheckOperationsTimeout(recordModel.ToModel(), h.operations, linearTimeout)
}

// explain logs what is wrong with each record: the longest order that the
// checker found, and what fits nowhere in it.
func (h *history) explain() {
	for _, part := range recordModel.Partition(h.operations) {
		m := recordModel.ToModel()
		m.Partition = nil
		result, info := porcupine.CheckOperationsVerbose(m, part, linearTimeout)
		if result == porcupine.Ok {
			continue
		}
		slices.SortFunc(part, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
		var longest []porcupine.Operation
		for _, order := range info.PartialLinearizationsOperations()[0] {
			if len(order) > len(longest) {
				longest = order
			}
		}
		for _, o := range longest {
			h.t.Log("in order:", describeOperation(o))
		}
		for _, o := range part {
			if !slices.Contains(longest, o) {
				h.t.Log("fits nowhere:", describeOperation(o))
			}
		}
	}
}

func describeOperation(o porcupine.Operation) string {
	return fmt.Sprint(recordModel.DescribeOperation(o.Input, o.Output), " by ", o.ClientId, " from ", o.Call, " to ", o.Return)
}

type opKind int

const (
	opGet opKind = iota
	opPut
	opDelete
)

// opInput is a call, opOutput what came of it: err is nil, ErrNotFound,
// ErrConflict, or errFault for one whose effect is open.
type opInput struct {
	kind               opKind
	key, value, ifWhat string
}

type opOutput struct {
	value, version string
	err            error
}

// client does a number of operations, mostly on what it has just seen.
func (h *history) client(id int) {
	seen := map[string]string{}
	for round := range linearRounds {
		in := opInput{kind: opGet, key: linearKeys[rand.IntN(len(linearKeys))]}
		switch n := rand.IntN(20); {
		case n < 10:
			in.kind, in.value = opPut, fmt.Sprintf("client %d, round %d", id, round)
		case n < 13:
			in.kind = opDelete
		}
		if in.ifWhat = seen[in.key]; in.kind == opDelete && in.ifWhat == shingle.NoVersion {
			in.kind = opGet // there is nothing to delete
		}
		out := h.do(id, in)
		switch {
		case out.err == nil:
			seen[in.key] = out.version // empty behind a deletion
		case errors.Is(out.err, shingle.ErrNotFound):
			delete(seen, in.key)
		default:
			seen[in.key] = h.do(id, opInput{kind: opGet, key: in.key}).version
		}
	}
}

func (h *history) do(id int, in opInput) opOutput {
	var out opOutput
	var err error
	call := time.Since(h.start)
	switch in.kind {
	case opGet:
		var b shingle.Blob
		b, err = h.store.Get(h.t.Context(), in.key)
		out.value, out.version = string(b.Value), b.Version
	case opPut:
		out.version, err = h.store.Put(h.t.Context(), in.key, []byte(in.value), in.ifWhat)
	case opDelete:
		err = h.store.Delete(h.t.Context(), in.key, in.ifWhat)
	}
	end := int64(time.Since(h.start))
	switch {
	case err == nil:
	case errors.Is(err, shingle.ErrNotFound):
		out.err = shingle.ErrNotFound
	case errors.Is(err, shingle.ErrConflict):
		out.err = shingle.ErrConflict
	case in.kind == opGet:
		return opOutput{err: errFault} // nothing was seen, nothing was done
	default:
		out, end = opOutput{err: errFault}, math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if end == math.MaxInt64 {
		h.open++
	}
	h.operations = append(h.operations, porcupine.Operation{ClientId: id, Input: in, Call: int64(call), Output: out, Return: end})
	return out
}

// recordState is a record: absent when its value is empty.
type recordState struct {
	value   string
	version string // anyVersion: of a write whose reply was lost
}

const anyVersion = "?"

func (r recordState) is(version string) bool {
	if r.value == "" {
		return version == shingle.NoVersion
	}
	return version != shingle.NoVersion && (r.version == version || r.version == anyVersion)
}

// mayDiffer is not the opposite of is: a version may be unknown.
func (r recordState) mayDiffer(version string) bool { return r.version == anyVersion || !r.is(version) }

// recordModel is a record of [shingle.Blobs], written down for the checker.
var recordModel = porcupine.NondeterministicModel{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range all {
			key := o.Input.(opInput).key
			byKey[key] = append(byKey[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{recordState{}} },
	Step: func(state, input, output any) []any {
		before, in, out := state.(recordState), input.(opInput), output.(opOutput)
		if in.kind == opGet {
			return before.get(out)
		}
		return before.write(in, out)
	},
	DescribeOperation: func(input, output any) string {
		in, out := input.(opInput), output.(opOutput)
		return fmt.Sprintf("%s %s %q if %q: %q %q %v", []string{"get", "put", "delete"}[in.kind], in.key, in.value, in.ifWhat, out.value, out.version, out.err)
	},
}

func (r recordState) get(out opOutput) []any {
	switch {
	case out.err != nil && r.value == "":
		return []any{r}
	case out.err == nil && r.value != "" && r.value == out.value && r.is(out.version):
		return []any{recordState{value: r.value, version: out.version}}
	}
	return nil
}

func (r recordState) write(in opInput, out opOutput) (next []any) {
	after := recordState{}
	if in.kind == opPut {
		after = recordState{value: in.value, version: out.version}
	}
	switch {
	case out.err == nil && r.is(in.ifWhat):
		return []any{after}
	case errors.Is(out.err, shingle.ErrNotFound) && r.value == "":
		return []any{r}
	case errors.Is(out.err, shingle.ErrConflict) && r.mayDiffer(in.ifWhat) && (in.kind == opPut || r.value != ""):
		return []any{r}
	case errors.Is(out.err, errFault):
		next = []any{r}
		if r.is(in.ifWhat) {
			if after.value != "" {
				after.version = anyVersion
			}
			next = append(next, after)
		}
	}
	return next
}
