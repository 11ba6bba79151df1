package certs

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"
)

// savePlot writes how many orders there were in each hour, when SHINGLE_SIM_SAVE is
// set. TestSimPlot_IsDrawnFromItsFigures draws them.
func savePlot(t *testing.T, name string, ca *simCA, start time.Time, hours int) {
	if os.Getenv("SHINGLE_SIM_SAVE") == "" {
		return
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	plain, exempt := make([]int, hours), make([]int, hours)
	for _, a := range ca.accepted {
		if hour := int(a.at.Sub(start) / time.Hour); !a.at.Before(start) && hour < hours {
			if a.exempt {
				exempt[hour]++
			} else {
				plain[hour]++
			}
		}
	}
	text := bytes.NewBufferString("hour,new,renewals\n")
	for hour := range hours {
		fmt.Fprintf(text, "%d,%d,%d\n", hour, plain[hour], exempt[hour])
	}
	if err := os.WriteFile("testdata/orders-"+name+".csv", text.Bytes(), 0o644); err != nil {
		t.Error(err)
	}
}
