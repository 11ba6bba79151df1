package debiantest

import (
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// world is a network namespace beside the machine's: a thread that is in it, which
// runs what must be. Sockets stay in the namespace in which they were made, whoever
// uses them.
type world struct {
	work chan func()
	err  error // why there is no namespace
}

func openWorld() *world {
	w := &world{work: make(chan func())}
	ready := make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		w.err = syscall.Unshare(syscall.CLONE_NEWNET)
		close(ready)
		for f := range w.work {
			f()
		}
	}()
	<-ready
	return w
}

// do runs f in the namespace. One thing runs there at a time.
func (w *world) do(f func()) {
	done := make(chan struct{})
	w.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

func (w *world) close() { close(w.work) }

// connect connects the world to the namespace of a process.
func (w *world) connect(pid int) error {
	if w.err != nil {
		return w.err
	}
	id := strconv.Itoa(pid)
	var err error
	w.do(func() {
		err = all(
			"ip link set lo up",
			"ip address add "+Metadata+"/32 dev lo",
			"ip link add world type veth peer name eth0 netns "+id,
			"ip address add "+World+"/30 dev world",
			"ip link set world up",
			"nsenter --target "+id+" --net ip link set lo up",
			"nsenter --target "+id+" --net ip address add "+Address+"/30 dev eth0",
			"nsenter --target "+id+" --net ip link set eth0 up",
			"nsenter --target "+id+" --net ip route add default via "+World,
		)
	})
	return err
}

func all(commands ...string) error {
	for _, c := range commands {
		words := strings.Fields(c)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", c, err, out)
		}
	}
	return nil
}
