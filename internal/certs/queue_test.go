package certs

import (
	"fmt"
	"testing"
)

func TestQueue_NewerItemTakesThePlaceOfAnOlder(t *testing.T) {
	q := newQueue()
	for n := range 3 {
		q.push(item{key: fmt.Sprint("a", n), class: classRenewal, group: "g", host: fmt.Sprint("h", n)})
	}
	q.push(item{key: "b0", class: classRenewal, group: "g", host: "h0"}) // moved
	q.push(item{key: "b1", class: classRenewal, group: "x", host: "h1"}) // of another tenant now
	q.push(item{key: "b1", class: classRenewal, group: "x", host: "h1"})
	var keys []string
	for {
		i, ok := q.pop(classRenewal)
		if !ok {
			break
		}
		keys = append(keys, i.key)
	}
	if got := fmt.Sprint(keys); got != "[b0 b1 a1 a2]" || q.len(classRenewal) != 0 {
		t.Errorf("turns %s, %d left", got, q.len(classRenewal))
	}
}

// TestQueue_WhoFillsItKeepsNobodyOut fills the queue by one group.
func TestQueue_WhoFillsItKeepsNobodyOut(t *testing.T) {
	q := newQueue()
	for n := range maxQueue + 10 {
		q.push(item{key: fmt.Sprint("a", n), class: classNew, group: "large", host: fmt.Sprint("h", n)})
	}
	if q.len(classNew) != maxQueue {
		t.Fatalf("%d items", q.len(classNew))
	}
	if !q.push(item{key: "s", class: classNew, group: "small", host: "s"}) || q.len(classNew) != maxQueue {
		t.Fatalf("no room, with %d items", q.len(classNew))
	}
	if !q.push(item{key: "r", class: classRenewal, group: "large", host: "h1"}) {
		t.Error("a full lane keeps another class out")
	}
	for range 2 {
		if i, ok := q.pop(classNew); ok && i.key == "s" {
			return
		}
	}
	t.Error("the small one waits for more than its turn")
}
